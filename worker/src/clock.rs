//! The database's clock, as far as this process can tell: it decides what is due, fresh and expired, and stamps what
//! is signed. Between two beats the monotonic clock carries it on.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub struct DatabaseClock {
    base: Instant,
    /// Microseconds since 1970 at `base`.
    offset_us: AtomicI64,
    observed: AtomicBool,
}

impl DatabaseClock {
    /// Until the first beat, the system's clock.
    pub fn new(base: Instant, system: SystemTime) -> DatabaseClock {
        DatabaseClock { base, offset_us: AtomicI64::new(unix_us(system)), observed: AtomicBool::new(false) }
    }

    /// The database said `database` in an answer to what was sent and received then, so at some time between. What is
    /// known changes only as far as that contradicts it: an answer that took long tells little.
    pub fn observe(&self, sent: Instant, received: Instant, database: SystemTime) {
        let offset_us =
            |at: Instant| unix_us(database) - at.saturating_duration_since(self.base).as_micros() as i64;
        let (least, most) = (offset_us(received.max(sent)), offset_us(sent));
        let known = self.offset_us.load(Ordering::Relaxed);
        let first = !self.observed.swap(true, Ordering::Relaxed);
        let offset = if first { least + (most - least) / 2 } else { known.clamp(least, most) };
        self.offset_us.store(offset, Ordering::Relaxed);
    }

    pub fn unix_us(&self, now: Instant) -> i64 {
        let elapsed_us = now.saturating_duration_since(self.base).as_micros() as i64;
        self.offset_us.load(Ordering::Relaxed) + elapsed_us
    }
}

/// Microseconds since 1970; negative before.
pub fn unix_us(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_micros() as i64,
        Err(before) => -(before.duration().as_micros() as i64),
    }
}

pub fn system_time(unix_us: i64) -> SystemTime {
    let distance = Duration::from_micros(unix_us.unsigned_abs());
    if unix_us >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_database() {
        let base = Instant::now();
        let clock = DatabaseClock::new(base, UNIX_EPOCH);
        assert_eq!(clock.unix_us(base + Duration::from_micros(5)), 5);
        let at = |ms| base + Duration::from_millis(ms);
        let said = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        clock.observe(at(10), at(20), said(1_000_000));
        assert_eq!(clock.unix_us(at(115)), 1_000_100_000);
        // An answer that took a second, and was given at its beginning.
        clock.observe(at(100), at(1_100), said(1_000_086));
        assert_eq!(clock.unix_us(at(115)), 1_000_100_000);
        // It was set back, and runs slow.
        clock.observe(at(2_000), at(2_002), said(500_000));
        assert_eq!(clock.unix_us(at(2_000)), 500_000_000);
        clock.observe(at(3_000), at(3_002), said(500_997));
        assert_eq!(clock.unix_us(at(3_000)), 500_997_000);
        assert_eq!(unix_us(system_time(-1_500)), -1_500);
    }
}
