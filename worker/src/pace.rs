//! When to look at the tail of the queue: at once when woken, again soon after, and now and then in any case.

use std::time::{Duration, Instant};

/// Whoever commits without a NOTIFY, because another transaction had the wake lock, does so within moments.
const SOON: Duration = Duration::from_millis(3);
/// In any case: finds what a NOTIFY lost, a prepared transaction or a full notification queue left unsaid.
const SWEEP: Duration = Duration::from_millis(250);
/// Between reads that find something: several commits are read together.
const BREATH: Duration = Duration::from_millis(1);

pub struct Pace {
    interval: Duration,
    next: Instant,
    not_before: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Pace {
        Pace { interval: SOON, next: now, not_before: now }
    }

    pub fn woken(&mut self, now: Instant) {
        self.next = now;
        self.interval = SOON;
    }

    /// A read has ended; `more`: it was one page of several.
    pub fn read(&mut self, now: Instant, found: bool, more: bool) {
        if found {
            self.interval = SOON;
            self.not_before = if more { now } else { now + BREATH };
        }
        self.next = if more { now } else { now + self.interval };
        self.interval = (self.interval * 2).min(SWEEP);
    }

    pub fn next(&self) -> Instant {
        self.next.max(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_again_at_growing_intervals() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = pace.next();
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.read(now, false, false);
            waits.push((pace.next() - now).as_millis());
            now = pace.next();
        }
        assert_eq!(waits, [3, 6, 12, 24, 48, 96, 192, 250, 250]);
        pace.woken(now);
        assert_eq!(pace.next(), now);
    }

    #[test]
    fn takes_breath_between_reads_that_find_something() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.read(now, true, false);
        pace.woken(now);
        assert_eq!(pace.next(), now + BREATH);
        pace.read(now, true, true);
        assert_eq!(pace.next(), now);
    }
}
