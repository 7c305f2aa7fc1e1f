//! The circuit breaker of one endpoint, for the worker: spares a receiver that is down its queue of first attempts.

/// Failed attempts in a row that open the breaker.
pub const OPENS_AFTER: u32 = 10;
/// First cool-down, in milliseconds.
pub const COOL_DOWN_MIN_MS: u64 = 1_000;
/// Longest cool-down, in milliseconds.
pub const COOL_DOWN_MAX_MS: u64 = 60_000;

/// Counts an endpoint's failed attempts in a row. Open, it lets one first attempt through per cool-down, the probe.
/// Whatever success closes it. It is asked about first attempts only: a retry that is due keeps its schedule, and its
/// outcome is reported like any other.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures: u32,
    open: Option<Open>,
}

/// May this first attempt start?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The breaker is closed.
    Go,
    /// The breaker is open, and this attempt is the one of this cool-down.
    Probe,
    /// Ask again in so many milliseconds, at least 1, or after the next success.
    WaitMs(u64),
}

/// Invariant: `cool_down_ms` is within `COOL_DOWN_MIN_MS..=COOL_DOWN_MAX_MS`.
#[derive(Clone, Debug)]
struct Open {
    cool_down_ms: u64,
    probe_at_ms: u64,
    /// A probe was let through and nothing has been heard since.
    probing: bool,
}

impl Breaker {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a first attempt at `now_ms`, on any monotonic clock. `Probe` uses up the cool-down's one attempt.
    pub fn permits(&mut self, now_ms: u64) -> Permit {
        let Some(open) = &mut self.open else { return Permit::Go };
        if now_ms < open.probe_at_ms {
            return Permit::WaitMs(open.probe_at_ms - now_ms);
        }
        // A probe that has hung for a whole cool-down counts as failed, or a slow time-out would collect probes.
        if open.probing {
            open.lengthen();
        }
        open.probing = true;
        open.probe_at_ms = now_ms.saturating_add(open.cool_down_ms);
        Permit::Probe
    }

    /// An attempt was delivered: the breaker closes.
    pub fn succeeded(&mut self) {
        *self = Self::new();
    }

    /// An attempt failed at `now_ms`. Attempts that were under way when the breaker opened change nothing any more; the
    /// first failure after a probe doubles the cool-down.
    pub fn failed(&mut self, now_ms: u64) {
        self.failures = self.failures.saturating_add(1);
        match &mut self.open {
            Some(open) if open.probing => {
                open.probing = false;
                open.lengthen();
                open.probe_at_ms = now_ms.saturating_add(open.cool_down_ms);
            }
            Some(_) => {}
            None if self.failures >= OPENS_AFTER => {
                self.open = Some(Open {
                    cool_down_ms: COOL_DOWN_MIN_MS,
                    probe_at_ms: now_ms.saturating_add(COOL_DOWN_MIN_MS),
                    probing: false,
                });
            }
            None => {}
        }
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

impl Open {
    fn lengthen(&mut self) {
        self.cool_down_ms = (self.cool_down_ms * 2).min(COOL_DOWN_MAX_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(now_ms: u64) -> Breaker {
        let mut breaker = Breaker::new();
        for _ in 0..OPENS_AFTER {
            breaker.failed(now_ms);
        }
        breaker
    }

    #[test]
    fn opens_after_ten_failures_in_a_row() {
        let mut breaker = Breaker::new();
        for _ in 0..OPENS_AFTER - 1 {
            breaker.failed(0);
        }
        assert_eq!(breaker.permits(0), Permit::Go);
        breaker.succeeded();
        for _ in 0..OPENS_AFTER - 1 {
            breaker.failed(0);
        }
        assert_eq!(breaker.permits(0), Permit::Go);
        breaker.failed(5);
        assert!(breaker.is_open());
        assert_eq!(breaker.permits(5), Permit::WaitMs(1_000));
        assert_eq!(breaker.permits(1_004), Permit::WaitMs(1));
    }

    #[test]
    fn one_probe_per_cool_down_doubling_to_a_minute() {
        let mut breaker = opened(0);
        let mut now_ms = 0;
        for cool_down_s in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(breaker.permits(now_ms), Permit::WaitMs(cool_down_s * 1000));
            now_ms += cool_down_s * 1000;
            assert_eq!(breaker.permits(now_ms), Permit::Probe);
            assert!(matches!(breaker.permits(now_ms), Permit::WaitMs(_)));
            breaker.failed(now_ms);
        }
        breaker.succeeded();
        assert_eq!(breaker.permits(now_ms), Permit::Go);
        assert!(!breaker.is_open());
    }

    #[test]
    fn failures_of_attempts_already_under_way_do_not_lengthen() {
        let mut breaker = opened(0);
        for _ in 0..1000 {
            breaker.failed(100);
        }
        assert_eq!(breaker.permits(100), Permit::WaitMs(900));
        assert_eq!(breaker.permits(1_000), Permit::Probe);
        breaker.failed(1_100);
        breaker.failed(1_200);
        assert_eq!(breaker.permits(1_200), Permit::WaitMs(1_900));
    }

    #[test]
    fn a_hung_probe_lengthens_the_cool_down() {
        let mut breaker = opened(0);
        assert_eq!(breaker.permits(1_000), Permit::Probe);
        assert_eq!(breaker.permits(1_000), Permit::WaitMs(1_000));
        assert_eq!(breaker.permits(2_000), Permit::Probe);
        assert_eq!(breaker.permits(2_000), Permit::WaitMs(2_000));
        assert_eq!(breaker.permits(4_000), Permit::Probe);
        assert_eq!(breaker.permits(4_000), Permit::WaitMs(4_000));
    }

    #[test]
    fn one_success_closes_and_forgets_the_cool_down() {
        let mut breaker = opened(0);
        assert_eq!(breaker.permits(1_000), Permit::Probe);
        breaker.failed(1_000);
        breaker.succeeded();
        for _ in 0..OPENS_AFTER {
            breaker.failed(9_000);
        }
        assert_eq!(breaker.permits(9_000), Permit::WaitMs(1_000));
    }

    proptest! {
        #[test]
        fn waiting_as_told_always_gets_a_probe(steps in proptest::collection::vec((0u64..5_000, 0u8..3), 0..200)) {
            let mut breaker = opened(0);
            let mut now_ms = 0;
            for (pass_ms, what) in steps {
                now_ms += pass_ms;
                match what {
                    0 => breaker.failed(now_ms),
                    1 => { breaker.permits(now_ms); }
                    _ => {}
                }
                if let Permit::WaitMs(wait_ms) = breaker.clone().permits(now_ms) {
                    prop_assert!((1..=COOL_DOWN_MAX_MS).contains(&wait_ms));
                    prop_assert_eq!(breaker.clone().permits(now_ms + wait_ms), Permit::Probe);
                }
            }
        }
    }
}
