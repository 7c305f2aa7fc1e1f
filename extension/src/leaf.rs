//! Which partition of webhook.event or webhook.event_body an id belongs to: what tuple routing would find, looked up once per session.

use crate::identity::{OWNER, acting_as, own_role};
use crate::inserter::{Columns, Inserter};
use crate::statement::{Seen, Statement};
use crate::subscriber;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

type Id = [u8; 16];

/// The ids a partition takes: from (inclusive) to (exclusive).
#[derive(Clone, Copy)]
pub struct Bounds {
    from: Id,
    to: Id,
}

impl Bounds {
    pub fn hold(&self, id: &Id) -> bool {
        self.from <= *id && *id < self.to
    }
}

struct Leaves {
    epoch: u64,
    dated: Vec<(Bounds, pg_sys::Oid)>,
    default: pg_sys::Oid,
}

impl Leaves {
    /// From this id, which no dated leaf takes, up to the next one.
    fn gap_at(&self, id: &Id) -> Bounds {
        let later = self.dated.iter().map(|(bounds, _)| bounds.from).filter(|from| from > id);
        Bounds { from: *id, to: later.min().unwrap_or([0xff; 16]) }
    }
}

/// A table that is partitioned by event id.
pub struct Parent {
    name: &'static CStr,
    default: &'static CStr,
    leaves: RefCell<Option<Rc<Leaves>>>,
}

impl Parent {
    const fn new(name: &'static CStr, default: &'static CStr) -> Self {
        Self { name, default, leaves: RefCell::new(None) }
    }
}

thread_local! {
    pub static EVENT: Parent = const { Parent::new(c"event", c"event_default") };
    pub static EVENT_BODY: Parent = const { Parent::new(c"event_body", c"event_body_default") };
    static DATED: Statement = const { Statement::new(
        c"SELECT l.leaf::pg_catalog.oid, l.from_id, l.to_id FROM webhook.leaf l \
          WHERE l.parent OPERATOR(pg_catalog.=) $1", &[pg_sys::TEXTOID]) };
}

/// Opens the partition this id goes to. The bounds say which other ids go there as well.
pub fn open<const N: usize>(parent: &Parent, id: &Id, columns: &Columns<N>) -> (Inserter<N>, Bounds) {
    loop {
        let leaves = leaves(parent);
        let found = leaves.dated.iter().find(|(bounds, _)| bounds.hold(id));
        let (bounds, table) = found.copied().unwrap_or_else(|| (leaves.gap_at(id), leaves.default));
        // Taking the lock brings news of partitions attached or dropped meanwhile.
        match Inserter::open(table, columns) {
            Some(inserter) if subscriber::epoch() == leaves.epoch => return (inserter, bounds),
            Some(outdated) => outdated.finish(),
            None => drop(parent.leaves.take()),
        }
    }
}

fn leaves(parent: &Parent) -> Rc<Leaves> {
    let epoch = subscriber::epoch();
    if let Some(known) = parent.leaves.borrow().as_ref().filter(|known| known.epoch == epoch) {
        return known.clone();
    }
    let default = subscriber::own_table(parent.default);
    subscriber::watch_relation(subscriber::own_table(parent.name));
    subscriber::watch_relation(default);
    let mut dated = Vec::new();
    acting_as(own_role(OWNER), false, || {
        DATED.with(|statement| {
            statement.run(Seen::Latest, &[parent.name.to_str().ok().into_datum()], |row| {
                let bounds = Bounds { from: *row.must::<pgrx::Uuid>(2), to: *row.must::<pgrx::Uuid>(3) };
                dated.push((bounds, row.must(1)));
            });
        });
    });
    let fresh = Rc::new(Leaves { epoch, dated, default });
    parent.leaves.replace(Some(fresh.clone()));
    fresh
}
