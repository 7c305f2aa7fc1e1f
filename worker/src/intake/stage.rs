//! Where an intake's rows come from at present; see `intake.rs`.

use crate::snapshot::Snapshot;
use uuid::Uuid;

pub enum Stage<R> {
    /// With the snapshot of the last pass, if there was one.
    Live(Option<Snapshot>),
    Behind(Pass),
    Joining,
    CatchingUp {
        pass: Pass,
        held: Vec<R>,
        again: bool,
    },
    /// Paused: nothing is taken.
    Held,
}

#[derive(Default)]
pub struct Pass {
    pub within: Option<Snapshot>,
    pub after: Option<Uuid>,
}

impl Pass {
    pub fn advance(&mut self, snapshot: Snapshot, after: Option<Uuid>) {
        self.within.get_or_insert(snapshot);
        self.after = after.or(self.after);
    }
}

pub fn catching_up<R>() -> Stage<R> {
    Stage::CatchingUp { pass: Pass::default(), held: Vec::new(), again: false }
}
