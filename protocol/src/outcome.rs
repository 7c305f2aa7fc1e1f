//! The retry decision, for the worker: what becomes of a delivery after one attempt (DESIGN.md section 8).

use std::fmt;

/// HTTP status codes as half-open ranges `[low, high)`: `[(200, 300)]` is every 2xx.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSet {
    ranges: Vec<(u16, u16)>,
}

impl StatusSet {
    /// A range whose `high` is not above its `low` holds nothing.
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        Self { ranges: ranges.into_iter().filter(|(low, high)| low < high).collect() }
    }

    pub fn contains(&self, code: u16) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..high).contains(&code))
    }
}

impl FromIterator<(u16, u16)> for StatusSet {
    fn from_iter<I: IntoIterator<Item = (u16, u16)>>(ranges: I) -> Self {
        Self::new(ranges)
    }
}

/// What an endpoint wants done about outcomes: columns of `webhook.endpoint`, checked where they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Waits in seconds after the first, second, … failed attempt. Empty: no retry.
    pub retry_schedule_s: Vec<f64>,
    /// Fraction 0 to 1 by which a wait varies.
    pub retry_jitter: f64,
    /// Retry window in seconds from the start of the run; `None`: no limit.
    pub retry_for_s: Option<f64>,
    /// Longest Retry-After honoured, in seconds; 0 ignores the header.
    pub retry_after_max_s: f64,
    pub success_on: StatusSet,
    pub give_up_on: StatusSet,
    pub disable_on: StatusSet,
}

/// What an attempt brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// An answer: its status code, and Retry-After in seconds if it had one that can be read.
    Status { code: u16, retry_after_s: Option<f64> },
    /// No whole answer: time-out, refused or broken connection, failed name look-up.
    NoAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    Delivered,
    /// Try again in `delay_s` seconds: finite and not negative.
    Retry {
        delay_s: f64,
    },
    Failed(FailedReason),
    /// The delivery has failed and its endpoint is to be disabled.
    FailedAndDisable,
}

/// Why a delivery gets no further attempt. The text is what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedReason {
    GaveUp,
    ScheduleExhausted,
    WindowOver,
}

impl fmt::Display for FailedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GaveUp => "status is in give_up_on",
            Self::ScheduleExhausted => "last step of retry_schedule is past",
            Self::WindowOver => "next attempt would be past retry_for",
        })
    }
}

/// Decides what becomes of a delivery, the first rule that applies winning: success_on, disable_on, give_up_on, end of
/// the schedule, end of the window, retry.
///
/// - `step`: failed attempts before this one in this run of the schedule.
/// - `age_s`: seconds since the run began.
/// - `jitter`: drawn by the caller from -1 to 1.
///
/// Retry-After (RFC 9110 section 10.2.3) can lengthen the step, never shorten it, and not past `retry_after_max_s`. The
/// window is compared with the wait that comes out.
pub fn decide(policy: &Policy, seen: Seen, step: usize, age_s: f64, jitter: f64) -> Decision {
    let retry_after_s = match seen {
        Seen::Status { code, .. } if policy.success_on.contains(code) => return Decision::Delivered,
        Seen::Status { code, .. } if policy.disable_on.contains(code) => return Decision::FailedAndDisable,
        Seen::Status { code, .. } if policy.give_up_on.contains(code) => {
            return Decision::Failed(FailedReason::GaveUp);
        }
        Seen::Status { retry_after_s, .. } => retry_after_s,
        Seen::NoAnswer => None,
    };
    let Some(&planned_s) = policy.retry_schedule_s.get(step) else {
        return Decision::Failed(FailedReason::ScheduleExhausted);
    };
    // f64::max answers the other number for a NaN: whatever comes in, a wait is a number from 0.
    let step_s = (planned_s * (1.0 + policy.retry_jitter * jitter)).max(0.0);
    let delay_s = retry_after_s.map_or(step_s, |asked_s| step_s.max(asked_s.min(policy.retry_after_max_s)));
    if policy.retry_for_s.is_some_and(|window_s| age_s + delay_s > window_s) {
        return Decision::Failed(FailedReason::WindowOver);
    }
    Decision::Retry { delay_s }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> Policy {
        Policy {
            retry_schedule_s: vec![10.0, 100.0, 1000.0],
            retry_jitter: 0.1,
            retry_for_s: None,
            retry_after_max_s: 3600.0,
            success_on: StatusSet::new([(200, 300)]),
            give_up_on: StatusSet::new([(400, 402), (422, 423)]),
            disable_on: StatusSet::new([(410, 411)]),
        }
    }

    fn status(code: u16) -> Seen {
        Seen::Status { code, retry_after_s: None }
    }

    fn after(retry_after_s: f64) -> Seen {
        Seen::Status { code: 503, retry_after_s: Some(retry_after_s) }
    }

    fn retry(delay_s: f64) -> Decision {
        Decision::Retry { delay_s }
    }

    #[test]
    fn status_sets_are_half_open() {
        let set = StatusSet::new([(200, 300), (410, 411), (500, 400), (7, 7)]);
        for (code, expect) in
            [(199, false), (200, true), (299, true), (300, false), (410, true), (411, false)]
        {
            assert_eq!(set.contains(code), expect, "{code}");
        }
        assert!(!set.contains(450) && !set.contains(7) && !StatusSet::default().contains(200));
    }

    #[test]
    fn the_first_rule_that_applies_wins() {
        use FailedReason::*;
        let check = |seen, step, expect| {
            assert_eq!(decide(&policy(), seen, step, 0.0, 0.0), expect, "{seen:?} {step}")
        };
        check(status(200), 0, Decision::Delivered);
        check(status(299), 99, Decision::Delivered);
        check(status(410), 0, Decision::FailedAndDisable);
        check(status(422), 0, Decision::Failed(GaveUp));
        check(status(400), 99, Decision::Failed(GaveUp));
        check(status(402), 0, retry(10.0));
        check(status(302), 0, retry(10.0));
        check(status(500), 1, retry(100.0));
        check(Seen::NoAnswer, 2, retry(1000.0));
        check(Seen::NoAnswer, 3, Decision::Failed(ScheduleExhausted));
        check(status(500), usize::MAX, Decision::Failed(ScheduleExhausted));
    }

    #[test]
    fn a_code_in_every_set_is_success_then_disable() {
        let all = StatusSet::new([(100, 600)]);
        let mut policy =
            Policy { success_on: all.clone(), give_up_on: all.clone(), disable_on: all, ..policy() };
        assert_eq!(decide(&policy, status(500), 0, 0.0, 0.0), Decision::Delivered);
        policy.success_on = StatusSet::default();
        assert_eq!(decide(&policy, status(500), 0, 0.0, 0.0), Decision::FailedAndDisable);
        policy.disable_on = StatusSet::default();
        assert_eq!(decide(&policy, status(500), 0, 0.0, 0.0), Decision::Failed(FailedReason::GaveUp));
    }

    #[test]
    fn retry_after_is_clamped_between_the_step_and_the_ceiling() {
        let check = |max_s, seen, step, jitter, expect| {
            let policy = Policy { retry_after_max_s: max_s, retry_jitter: 0.5, ..policy() };
            assert_eq!(
                decide(&policy, seen, step, 0.0, jitter),
                retry(expect),
                "{max_s} {seen:?} {step} {jitter}"
            );
        };
        check(3600.0, after(60.0), 0, 0.0, 60.0);
        check(3600.0, after(1.0), 0, 0.0, 10.0);
        check(3600.0, after(0.0), 0, 1.0, 15.0);
        check(3600.0, after(12.0), 0, 1.0, 15.0);
        check(3600.0, after(12.0), 0, -1.0, 12.0);
        check(3600.0, after(1e9), 0, 0.0, 3600.0);
        check(60.0, after(1e9), 2, 0.0, 1000.0);
        check(0.0, after(60.0), 0, 0.0, 10.0);
    }

    #[test]
    fn the_window_counts_the_wait() {
        let check = |seen, step, age_s, expect| {
            let policy = Policy { retry_for_s: Some(100.0), ..policy() };
            assert_eq!(decide(&policy, seen, step, age_s, 0.0), expect, "{seen:?} {step} {age_s}");
        };
        let over = Decision::Failed(FailedReason::WindowOver);
        check(status(500), 0, 90.0, retry(10.0));
        check(status(500), 0, 90.1, over);
        check(status(500), 1, 0.0, retry(100.0));
        check(after(101.0), 0, 0.0, over);
        check(status(200), 0, 1e9, Decision::Delivered);
        check(status(422), 0, 1e9, Decision::Failed(FailedReason::GaveUp));
        check(status(500), 3, 1e9, Decision::Failed(FailedReason::ScheduleExhausted));
    }

    #[test]
    fn jitter_spreads_the_step() {
        for (jitter, expect) in [(-1.0, 90.0), (0.0, 100.0), (1.0, 110.0)] {
            let Decision::Retry { delay_s } = decide(&policy(), Seen::NoAnswer, 1, 0.0, jitter) else {
                panic!()
            };
            assert!((delay_s - expect).abs() < 1e-9, "{jitter}: {delay_s}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_its_bounds(
            step in 0usize..3, jitter in -1.0f64..=1.0, fraction in 0.0f64..=1.0, max_s in 0.0f64..1e5,
            asked in proptest::option::of(0.0f64..1e6),
        ) {
            let policy = Policy { retry_jitter: fraction, retry_after_max_s: max_s, ..policy() };
            let planned_s = policy.retry_schedule_s[step];
            let seen = Seen::Status { code: 503, retry_after_s: asked };
            let Decision::Retry { delay_s } = decide(&policy, seen, step, 0.0, jitter) else { panic!() };
            prop_assert!(delay_s >= planned_s * (1.0 - fraction) - 1e-9);
            prop_assert!(delay_s <= (planned_s * (1.0 + fraction)).max(max_s) + 1e-9);
        }

        #[test]
        fn a_wait_is_a_number_whatever_comes_in(asked in any::<f64>(), jitter in any::<f64>(), age_s in any::<f64>()) {
            if let Decision::Retry { delay_s } = decide(&policy(), after(asked), 0, age_s, jitter.clamp(-1.0, 1.0)) {
                prop_assert!(delay_s.is_finite() && delay_s >= 0.0, "{delay_s}");
            }
        }
    }
}
