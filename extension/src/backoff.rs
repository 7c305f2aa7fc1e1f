//! `webhook_backoff()`: a growing retry schedule from four numbers. The rule is protocol's.

use pgrx::datum::Interval;
use pgrx::prelude::*;

/// As the comparison of intervals has it: a month is 30 days. An endpoint's steps are at most twelve of them.
const DAY_US: i64 = 86_400_000_000;
const STEP_MAX_US: i64 = 360 * DAY_US;

/// webhook_backoff(base interval, factor float8, cap interval, attempts int) returns interval[]
#[pg_extern(sql = false)]
fn webhook_backoff(base: Interval, factor: f64, cap: Interval, attempts: i32) -> Vec<Interval> {
    let hint = "For example webhook_backoff('1 min', 2, '1 h', 10): 1, 2, 4, … minutes, at most an hour, ten of them.";
    if micros(&cap) > STEP_MAX_US {
        crate::refuse("cap must be at most a year", hint);
    }
    match protocol::schedule::backoff(seconds(&base), factor, seconds(&cap), attempts) {
        Ok(steps_s) => steps_s.into_iter().map(|s| Interval::from_micros((s * 1e6).round() as i64)).collect(),
        Err(invalid) => crate::refuse(invalid.to_string(), hint),
    }
}

fn micros(interval: &Interval) -> i64 {
    let days = i64::from(interval.months()) * 30 + i64::from(interval.days());
    days.saturating_mul(DAY_US).saturating_add(interval.micros())
}

fn seconds(interval: &Interval) -> f64 {
    micros(interval) as f64 / 1e6
}
