//! Ids of events, for `webhook_emit`: UUIDv7 (RFC 9562, 5.7), so that an id carries its time, partitions are ranges
//! of ids, and the events of one backend sort in the order in which they were made.

use crate::ascii::{as_str, hex_digit};

/// Draws the ids of one backend. They strictly increase, whatever the clock does.
///
/// The 12 bits after the version hold the fraction of the millisecond (RFC 9562, 6.2, method 3), in steps of 1/4096 ms.
/// Where the clock has not moved on by a step, or has gone back, an id takes the step after that of the id before it:
/// the order is kept and the time in the id runs ahead of the clock until that catches up.
#[derive(Debug, Default)]
pub struct EventIdGenerator {
    /// Steps of 1/4096 ms since 1970, of the last id.
    last_step: u64,
}

impl EventIdGenerator {
    #[must_use]
    pub const fn new() -> Self {
        Self { last_step: 0 }
    }

    /// The id of an event made at `unix_us`, microseconds since 1970 (a time before 1970 counts as 1970, one after
    /// 10889 as 10889, where ids no longer increase). The low 62 bits of `random` become part of the id: ids of
    /// different backends differ by them.
    pub fn next(&mut self, unix_us: i64, random: u64) -> [u8; 16] {
        let us = u64::try_from(unix_us).unwrap_or(0);
        let (ms, us_of_ms) = ((us / 1000).min(MAX_MS), us % 1000);
        let step = (ms << 12) | ((us_of_ms << 12) / 1000);
        self.last_step = step.max(self.last_step + 1).min(MAX_STEP);
        id_of(self.last_step, random)
    }
}

/// The time in an id: milliseconds since 1970.
#[must_use]
pub fn unix_ms(id: &[u8; 16]) -> i64 {
    (u128::from_be_bytes(*id) >> 80) as i64
}

/// The lowest UUIDv7 of a millisecond: at most every id of that millisecond, above every id of an earlier one.
/// A `unix_ms` before 1970 or beyond 48 bits counts as the nearest that can be expressed.
#[must_use]
pub fn first_id_at(unix_ms: i64) -> [u8; 16] {
    id_of(u64::try_from(unix_ms).unwrap_or(0).min(MAX_MS) << 12, 0)
}

/// Appends the id as PostgreSQL writes a `uuid`.
pub fn write_uuid(out: &mut String, id: &[u8; 16]) {
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = hex_digit(byte >> 4);
        text[at + 1] = hex_digit(byte & 15);
        at += 2;
    }
    out.push_str(as_str(&text));
}

const MAX_MS: u64 = (1 << 48) - 1;
const MAX_STEP: u64 = (1 << 60) - 1;

fn id_of(step: u64, random: u64) -> [u8; 16] {
    const VERSION: u64 = 0x7 << 12;
    const VARIANT: u64 = 0b10 << 62;
    let high = ((step >> 12) << 16) | VERSION | (step & 0xfff);
    let low = VARIANT | (random & !(0b11 << 62));
    ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(id: &[u8; 16]) -> String {
        let mut out = String::new();
        write_uuid(&mut out, id);
        out
    }

    /// RFC 9562, appendix A.6, but for its random rand_a, which here is the fraction of the millisecond.
    #[test]
    fn the_layout_of_the_rfc() {
        let id = EventIdGenerator::new().next(1_645_557_742_000_500, 0x18C4_DC0C_0C07_398F);
        assert_eq!(text(&id), "017f22e2-79b0-7800-98c4-dc0c0c07398f");
        assert_eq!(unix_ms(&id), 1_645_557_742_000);
    }

    #[test]
    fn times_that_an_id_cannot_express_are_clamped() {
        assert_eq!(text(&first_id_at(-1)), "00000000-0000-7000-8000-000000000000");
        assert_eq!(text(&first_id_at(i64::MAX)), "ffffffff-ffff-7000-8000-000000000000");
        assert_eq!(unix_ms(&EventIdGenerator::new().next(i64::MIN, 0)), 0);
        let mut generator = EventIdGenerator::new();
        for _ in 0..5000 {
            assert_eq!(unix_ms(&generator.next(i64::MAX, 0)), MAX_MS as i64);
        }
    }

    #[test]
    fn a_clock_that_stands_still_yields_ordered_ids() {
        let mut generator = EventIdGenerator::new();
        let ids: Vec<_> = (0..100_000).map(|_| generator.next(1_700_000_000_000_000, u64::MAX)).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        // 100,000 steps of 1/4096 ms.
        assert_eq!(unix_ms(&ids[99_999]) - unix_ms(&ids[0]), 24);
    }

    const YEAR_10000_US: i64 = 253_402_300_800_000_000;

    proptest! {
        #[test]
        fn ids_strictly_increase(draws in proptest::collection::vec((0..YEAR_10000_US, any::<u64>()), 2..50)) {
            let mut generator = EventIdGenerator::new();
            let ids: Vec<_> = draws.into_iter().map(|(us, random)| generator.next(us, random)).collect();
            prop_assert!(ids.is_sorted_by(|a, b| a < b));
            prop_assert!(ids.iter().map(text).is_sorted_by(|a, b| a < b));
        }

        #[test]
        fn an_id_carries_its_time_and_version(us in 0..YEAR_10000_US, random: u64) {
            let id = EventIdGenerator::new().next(us.max(1000), random);
            prop_assert_eq!(unix_ms(&id), us.max(1000) / 1000);
            prop_assert_eq!((id[6] >> 4, id[8] >> 6), (7, 0b10));
        }

        #[test]
        fn the_first_id_bounds_its_millisecond(us in 1000..YEAR_10000_US, random: u64) {
            let id = EventIdGenerator::new().next(us, random);
            prop_assert!(first_id_at(us / 1000) <= id);
            prop_assert!(first_id_at(us / 1000 + 1) > id);
        }
    }
}
