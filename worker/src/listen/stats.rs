//! What came so far: counts and latencies.

use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt;

/// Remembered at most, 16 bytes each; beyond it repeated ones count as new.
const MOST_EVENTS: usize = 20_000_000;

/// Latencies are kept in steps of a 32nd of their power of two: exact to 3 %, in constant memory.
const STEPS: usize = 32;

#[derive(Default)]
pub struct Stats {
    received: u64,
    verified: u64,
    rejected: u64,
    events: HashSet<u128>,
    uncounted: u64,
    latencies: Vec<u64>,
    measured: u64,
}

impl Stats {
    pub fn verified(&mut self, event_id: u128, latency_us: Option<i64>) {
        self.received += 1;
        self.verified += 1;
        if self.events.len() < MOST_EVENTS {
            self.events.insert(event_id);
        } else if !self.events.contains(&event_id) {
            self.uncounted += 1;
        }
        if let Some(latency_us) = latency_us {
            let step = step_of(latency_us.max(0) as u64);
            if self.latencies.len() <= step {
                self.latencies.resize(step + 1, 0);
            }
            self.latencies[step] += 1;
            self.measured += 1;
        }
    }

    pub fn rejected(&mut self) {
        self.received += 1;
        self.rejected += 1;
    }

    fn percentile_ms(&self, part: f64) -> Option<f64> {
        let wanted = (self.measured as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let step = self.latencies.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(middle_us(step) / 1_000.0)
    }

    pub fn json(&self) -> Value {
        json!({
            "received": self.received,
            "verified": self.verified,
            "rejected": self.rejected,
            "distinct_events": self.events.len() as u64 + self.uncounted,
            "p50_ms": self.percentile_ms(0.5),
            "p99_ms": self.percentile_ms(0.99),
        })
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |part| self.percentile_ms(part).map_or("-".to_owned(), |ms| format!("{ms:.2}"));
        write!(
            f,
            "received {}, verified {}, rejected {}, distinct events {}, p50 {} ms, p99 {} ms",
            self.received,
            self.verified,
            self.rejected,
            self.events.len() as u64 + self.uncounted,
            ms(0.5),
            ms(0.99)
        )
    }
}

fn step_of(us: u64) -> usize {
    let power = (us | 1).ilog2() as usize;
    if power <= 5 { us as usize } else { (power - 5) * STEPS + (us >> (power - 5)) as usize }
}

fn middle_us(step: usize) -> f64 {
    if step < 2 * STEPS {
        return step as f64;
    }
    let power = step / STEPS - 1;
    let low = (step % STEPS + STEPS) << power;
    low as f64 + (1u64 << power) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_within_three_percent() {
        let mut last = 0;
        for us in (0..3_000_000u64).step_by(7) {
            let step = step_of(us);
            assert!(step >= last);
            last = step;
            assert!(
                (middle_us(step) - us as f64).abs() <= (us as f64 * 0.032).max(0.5),
                "{us} {}",
                middle_us(step)
            );
        }
    }

    #[test]
    fn counts_and_percentiles() {
        let mut stats = Stats::default();
        for n in 1..=100 {
            stats.verified(n % 50, Some(n as i64 * 1_000));
        }
        stats.rejected();
        let json = stats.json();
        assert_eq!((json["received"].as_u64(), json["rejected"].as_u64()), (Some(101), Some(1)));
        assert_eq!(json["distinct_events"], 50);
        assert!((json["p50_ms"].as_f64().unwrap() - 50.0).abs() < 2.0);
        assert!((json["p99_ms"].as_f64().unwrap() - 99.0).abs() < 4.0);
        assert_eq!(Stats::default().json()["p50_ms"], Value::Null);
    }
}
