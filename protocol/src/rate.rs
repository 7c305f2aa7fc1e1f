//! The rate limit of one endpoint, for the worker: a token bucket whose clock is an argument.

use std::fmt;

/// The highest rate that can be asked for, in attempts per second: more than a worker can send.
pub const MAX_PER_SECOND: f64 = 1_000_000.0;

/// So much of a token may be missing through rounding.
const ROUNDING: f64 = 1e-9;

/// A token bucket: `per_second` tokens come in a second, and `max(1, per_second)` of them fit. It starts with one, so that
/// whoever begins anew, a worker after a crash say, has no burst to spend that was spent before.
///
/// Invariant: `0 < per_second <= MAX_PER_SECOND`; `tokens` is within 0 and the burst, give or take rounding.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_second: f64,
    tokens: f64,
    counted_at_ms: u64,
}

impl RateLimit {
    /// `per_second` is attempts per second, above 0 and at most [`MAX_PER_SECOND`]; 0.1 is one in ten seconds.
    pub fn try_new(per_second: f64, now_ms: u64) -> Result<Self, InvalidRate> {
        // Written so that a NaN is refused.
        if per_second > 0.0 && per_second <= MAX_PER_SECOND {
            Ok(Self { per_second, tokens: 1.0, counted_at_ms: now_ms })
        } else {
            Err(InvalidRate(per_second))
        }
    }

    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// In how many milliseconds from `now_ms`, on any clock, there will be a token; 0: there is one. A clock that goes
    /// back neither gives tokens nor takes any.
    pub fn wait_ms(&mut self, now_ms: u64) -> u64 {
        let passed_s = now_ms.saturating_sub(self.counted_at_ms) as f64 / 1000.0;
        self.tokens = (self.tokens + passed_s * self.per_second).min(self.burst());
        self.counted_at_ms = now_ms.max(self.counted_at_ms);
        if self.tokens >= 1.0 - ROUNDING {
            return 0;
        }
        // Half the tolerance, so that whoever waits as told is above the mark.
        let missing_s = (1.0 - ROUNDING / 2.0 - self.tokens) / self.per_second;
        // `as` saturates: a rate of next to nothing waits for ever, it does not overflow.
        let behind_ms = self.counted_at_ms.saturating_sub(now_ms);
        ((missing_s * 1000.0).ceil() as u64).saturating_add(behind_ms).max(1)
    }

    /// Takes a token, after `wait_ms` said that there is one.
    pub fn take(&mut self) {
        self.tokens -= 1.0;
    }

    fn burst(&self) -> f64 {
        self.per_second.max(1.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvalidRate(f64);

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rate limit {} must be above 0 and at most {MAX_PER_SECOND} per second", self.0)
    }
}

impl std::error::Error for InvalidRate {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_that_make_no_sense_are_refused() {
        for bad in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, MAX_PER_SECOND * 1.1] {
            assert!(RateLimit::try_new(bad, 0).is_err(), "{bad}");
        }
        assert_eq!(
            RateLimit::try_new(-1.0, 0).unwrap_err().to_string(),
            "rate limit -1 must be above 0 and at most 1000000 per second"
        );
    }

    fn take(limit: &mut RateLimit, now_ms: u64) -> Result<(), u64> {
        match limit.wait_ms(now_ms) {
            0 => {
                limit.take();
                Ok(())
            }
            wait_ms => Err(wait_ms),
        }
    }

    #[test]
    fn takes_in_turn() {
        fn check(per_second: f64, takes: &[(u64, Result<(), u64>)]) {
            let mut limit = RateLimit::try_new(per_second, 0).unwrap();
            for &(now_ms, expect) in takes {
                assert_eq!(take(&mut limit, now_ms), expect, "{per_second}/s at {now_ms}");
            }
        }
        // One at the start.
        check(2.0, &[(0, Ok(())), (0, Err(500)), (499, Err(1)), (500, Ok(())), (500, Err(500))]);
        check(
            2.0,
            &[
                (500, Ok(())),
                (500, Ok(())),
                (500, Err(500)),
                (9_000, Ok(())),
                (9_000, Ok(())),
                (9_000, Err(500)),
            ],
        );
        check(0.1, &[(0, Ok(())), (1, Err(9_999)), (10_000, Ok(())), (10_000, Err(10_000))]);
        // A burst is not saved up beyond one second's worth.
        check(1.5, &[(1_000_000, Ok(())), (1_000_000, Err(334)), (2_000_000, Ok(())), (2_000_000, Err(334))]);
        check(3.0, &[(9_000, Ok(())), (9_000, Ok(())), (9_000, Ok(())), (9_000, Err(334)), (9_334, Ok(()))]);
        // The clock goes back.
        check(1.0, &[(5_000, Ok(())), (4_000, Err(2_000)), (6_000, Ok(()))]);
        check(1e-300, &[(0, Ok(())), (0, Err(u64::MAX))]);
    }

    proptest! {
        #[test]
        fn waiting_as_told_gets_a_token(rate in 0.001f64..100_000.0, start_ms in 0u64..2_000_000_000_000, n in 1usize..200) {
            let mut limit = RateLimit::try_new(rate, start_ms).unwrap();
            let mut now_ms = start_ms;
            for _ in 0..n {
                if let Err(wait_ms) = take(&mut limit, now_ms) {
                    now_ms += wait_ms;
                    prop_assert_eq!(take(&mut limit, now_ms), Ok(()));
                }
            }
        }

        #[test]
        fn no_more_than_burst_and_rate(rate in 0.1f64..50.0, pauses in proptest::collection::vec(0u64..300, 1..300)) {
            let mut limit = RateLimit::try_new(rate, 0).unwrap();
            let (mut now_ms, mut taken) = (0, 0u32);
            for pause_ms in pauses {
                now_ms += pause_ms;
                taken += u32::from(take(&mut limit, now_ms).is_ok());
            }
            prop_assert!(f64::from(taken) <= 1.0 + rate * now_ms as f64 / 1000.0 + 1e-6);
        }
    }
}
