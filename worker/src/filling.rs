//! How long a batch of outcomes waits for company before it is recorded. A transaction costs PostgreSQL as much as some
//! thirty outcomes in it: while many come, larger ones are worth waiting for.

use std::time::Duration;

/// The first outcome after a pause waits so long.
const GATHER: Duration = Duration::from_millis(1);
/// When the last batch had so many outcomes, …
const BUSY: usize = 16;
/// … the next one waits for so many, …
const ENOUGH: usize = 500;
/// … but no longer than this.
const FILL: Duration = Duration::from_millis(20);

#[derive(Default)]
pub struct Filling {
    waiting: usize,
    urgent: bool,
    last: usize,
}

impl Filling {
    /// Outcomes wait to be recorded. `urgent`: something waits for them, to be sent after them.
    pub fn came(&mut self, outcomes: usize, urgent: bool) {
        self.waiting += outcomes;
        self.urgent |= urgent;
    }

    /// A batch is begun with so many of them.
    pub fn begun(&mut self, outcomes: usize) {
        self.waiting -= outcomes;
        self.urgent &= self.waiting > 0;
        self.last = outcomes;
    }

    /// Until the next batch is to be begun, if none is under way. `paused`: none was until now.
    pub fn wait(&self, paused: bool) -> Duration {
        match (self.waiting >= ENOUGH, self.last >= BUSY && !self.urgent) {
            (true, _) => Duration::ZERO,
            (false, true) => FILL,
            (false, false) if paused => GATHER,
            (false, false) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wait_for_more() {
        let mut filling = Filling::default();
        filling.came(BUSY - 1, false);
        assert_eq!((filling.wait(true), filling.wait(false)), (GATHER, Duration::ZERO));
        filling.begun(BUSY - 1);
        filling.came(BUSY, false);
        assert_eq!(filling.wait(false), Duration::ZERO);
        filling.begun(BUSY);
        filling.came(ENOUGH - 1, false);
        assert_eq!((filling.wait(true), filling.wait(false)), (FILL, FILL));
        filling.came(1, false);
        assert_eq!((filling.wait(true), filling.wait(false)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn what_is_waited_for_does_not_wait() {
        let mut filling = Filling::default();
        filling.came(BUSY, false);
        filling.begun(BUSY);
        filling.came(2, true);
        assert_eq!((filling.wait(true), filling.wait(false)), (GATHER, Duration::ZERO));
        filling.begun(1);
        assert_eq!(filling.wait(false), Duration::ZERO);
        filling.begun(1);
        filling.came(BUSY, false);
        filling.begun(BUSY);
        filling.came(1, false);
        assert_eq!(filling.wait(false), FILL);
    }
}
