//! Until when this process may begin requests: the owner renews it with each beat that PostgreSQL answers.
//!
//! A process that was frozen, or cut off, finds it expired by the monotonic clock before it does anything else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Without an answer for so long nothing new is begun. Well below the idle_session_timeout that frees the slots.
pub const TERM: Duration = Duration::from_secs(2);

const DEADLINE_BITS: u32 = 40;

/// An owner's session; endpoints compare theirs, so that what was read under an earlier one is not sent under this.
pub type Epoch = u32;

/// Invariant: the epoch in the upper 24 bits, milliseconds since `base` in the lower 40.
pub struct Lease {
    base: Instant,
    state: AtomicU64,
}

impl Lease {
    pub fn new(base: Instant) -> Lease {
        Lease { base, state: AtomicU64::new(0) }
    }

    /// PostgreSQL answered a beat that was sent at `sent`.
    pub fn renew(&self, epoch: Epoch, sent: Instant) {
        let deadline_ms = sent.duration_since(self.base).as_millis() as u64 + TERM.as_millis() as u64;
        self.state.store(u64::from(epoch) << DEADLINE_BITS | deadline_ms, Ordering::SeqCst);
    }

    pub fn revoke(&self) {
        self.state.store(0, Ordering::SeqCst);
    }

    pub fn is_valid(&self, epoch: Epoch, now: Instant) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        let now_ms = now.duration_since(self.base).as_millis() as u64;
        state >> DEADLINE_BITS == u64::from(epoch) && now_ms < state & ((1 << DEADLINE_BITS) - 1)
    }

    /// Whether any epoch's lease holds.
    pub fn is_held(&self, now: Instant) -> bool {
        let epoch = (self.state.load(Ordering::SeqCst) >> DEADLINE_BITS) as Epoch;
        epoch != 0 && self.is_valid(epoch, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_and_belongs_to_one_epoch() {
        let base = Instant::now();
        let at = |ms| base + Duration::from_millis(ms);
        let lease = Lease::new(base);
        assert!(!lease.is_held(at(0)));
        lease.renew(1, at(500));
        assert!(lease.is_valid(1, at(2_499)) && !lease.is_valid(1, at(2_500)));
        assert!(!lease.is_valid(2, at(600)));
        lease.renew(2, at(700));
        assert!(!lease.is_valid(1, at(800)) && lease.is_valid(2, at(2_699)));
        lease.revoke();
        assert!(!lease.is_held(at(800)));
    }
}
