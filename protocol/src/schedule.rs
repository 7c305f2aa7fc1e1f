//! Exponential retry schedules, for `webhook_backoff()`: a growing list of waits from four numbers.

use std::fmt;

/// The most steps a retry schedule has.
pub const MAX_ATTEMPTS: i32 = 100;

/// Waits in seconds, one for each of `attempts` retries: `base_s`, `base_s * factor`, `base_s * factor²`, …, none longer
/// than `cap_s`.
pub fn backoff(base_s: f64, factor: f64, cap_s: f64, attempts: i32) -> Result<Vec<f64>, InvalidSchedule> {
    // Each comparison is written so that a NaN is refused.
    if !(base_s > 0.0 && base_s.is_finite()) {
        return Err(InvalidSchedule::Base(base_s));
    }
    if !(factor >= 1.0 && factor.is_finite()) {
        return Err(InvalidSchedule::Factor(factor));
    }
    if !(cap_s >= base_s && cap_s.is_finite()) {
        return Err(InvalidSchedule::Cap { cap_s, base_s });
    }
    if !(1..=MAX_ATTEMPTS).contains(&attempts) {
        return Err(InvalidSchedule::Attempts(attempts));
    }
    // Too large a power is infinity, and the cap cuts it.
    Ok((0..attempts).map(|n| (base_s * factor.powi(n)).min(cap_s)).collect())
}

/// Which of the four numbers breaks its rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InvalidSchedule {
    Base(f64),
    Factor(f64),
    Cap { cap_s: f64, base_s: f64 },
    Attempts(i32),
}

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(base_s) => write!(f, "base {base_s} s must be above 0 and finite"),
            Self::Factor(factor) => write!(f, "factor {factor} must be at least 1 and finite"),
            Self::Cap { cap_s, base_s } => {
                write!(f, "cap {cap_s} s must be at least the base {base_s} s and finite")
            }
            Self::Attempts(attempts) => write!(f, "attempts {attempts} must be 1 to {MAX_ATTEMPTS}"),
        }
    }
}

impl std::error::Error for InvalidSchedule {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_to_the_cap() {
        let check = |(base_s, factor, cap_s, attempts), expect: &[f64]| {
            assert_eq!(backoff(base_s, factor, cap_s, attempts).unwrap(), expect);
        };
        check((5.0, 2.0, 60.0, 6), &[5.0, 10.0, 20.0, 40.0, 60.0, 60.0]);
        check((1.0, 1.0, 1.0, 3), &[1.0, 1.0, 1.0]);
        check((0.5, 10.0, 1e9, 1), &[0.5]);
        check((1.0, f64::MAX, 7.0, 4), &[1.0, 7.0, 7.0, 7.0]);
        assert_eq!(backoff(1.0, 2.0, 3600.0, 100).unwrap().len(), 100);
    }

    #[test]
    fn names_the_value_and_the_rule() {
        let check = |(base_s, factor, cap_s, attempts), expect: &str| {
            assert_eq!(backoff(base_s, factor, cap_s, attempts).unwrap_err().to_string(), expect);
        };
        check((0.0, 2.0, 60.0, 5), "base 0 s must be above 0 and finite");
        check((-1.0, 2.0, 60.0, 5), "base -1 s must be above 0 and finite");
        check((f64::NAN, 2.0, 60.0, 5), "base NaN s must be above 0 and finite");
        check((f64::INFINITY, 2.0, f64::INFINITY, 5), "base inf s must be above 0 and finite");
        check((1.0, 0.99, 60.0, 5), "factor 0.99 must be at least 1 and finite");
        check((1.0, f64::NAN, 60.0, 5), "factor NaN must be at least 1 and finite");
        check((1.0, f64::INFINITY, 60.0, 5), "factor inf must be at least 1 and finite");
        check((5.0, 2.0, 4.0, 5), "cap 4 s must be at least the base 5 s and finite");
        check((5.0, 2.0, f64::NAN, 5), "cap NaN s must be at least the base 5 s and finite");
        check((5.0, 2.0, f64::INFINITY, 5), "cap inf s must be at least the base 5 s and finite");
        check((5.0, 2.0, 60.0, 0), "attempts 0 must be 1 to 100");
        check((5.0, 2.0, 60.0, 101), "attempts 101 must be 1 to 100");
        check((5.0, 2.0, 60.0, i32::MIN), "attempts -2147483648 must be 1 to 100");
    }

    proptest! {
        #[test]
        fn never_shrinks_and_stays_within_base_and_cap(
            base_s in 0.001f64..1e6, factor in 1.0f64..1e9, room in 1.0f64..1e6, attempts in 1..=MAX_ATTEMPTS,
        ) {
            let cap_s = base_s * room;
            let steps = backoff(base_s, factor, cap_s, attempts).unwrap();
            prop_assert_eq!(steps.len(), attempts as usize);
            prop_assert!(steps.iter().all(|s| (base_s..=cap_s).contains(s)));
            prop_assert!(steps.is_sorted());
        }
    }
}
