//! Which partition of webhook.event or webhook.event_body an id belongs to: what tuple routing would find, looked up once per session.

use crate::cached::{self, Cached};
use crate::identity::{OWNER, acting_as, own_role};
use crate::inserter::Inserter;
use crate::own_table::own_table;
use crate::statement::{Seen, Statement};
use crate::write_plan::Columns;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CStr;
use std::thread::LocalKey;

type Id = [u8; 16];

/// The ids a partition takes: from (inclusive) to (exclusive).
#[derive(Clone, Copy)]
struct Bounds {
    from: Id,
    to: Id,
}

impl Bounds {
    fn hold(&self, id: &Id) -> bool {
        self.from <= *id && *id < self.to
    }
}

struct Leaves {
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
    leaves: Cached<Leaves>,
}

impl Parent {
    const fn new(name: &'static CStr, default: &'static CStr) -> Self {
        Self { name, default, leaves: Cached::new() }
    }
}

thread_local! {
    pub static EVENT: Parent = const { Parent::new(c"event", c"event_default") };
    pub static EVENT_BODY: Parent = const { Parent::new(c"event_body", c"event_body_default") };
    static DATED: Statement = const { Statement::new(
        c"SELECT l.leaf::pg_catalog.oid, l.from_id, l.to_id FROM webhook.leaf l \
          WHERE l.parent OPERATOR(pg_catalog.=) $1", &[pg_sys::TEXTOID]) };
}

/// Adds rows to whichever partitions their ids belong to.
pub struct Writer<const N: usize> {
    parent: &'static LocalKey<Parent>,
    columns: &'static Columns<N>,
    /// The partition the last row went to, and which ids go there as well.
    open: Option<(Inserter<N>, Bounds)>,
}

impl<const N: usize> Writer<N> {
    pub fn new(parent: &'static LocalKey<Parent>, columns: &'static Columns<N>) -> Self {
        Self { parent, columns, open: None }
    }

    /// Adds the row of an id, as [`Inserter::add`].
    pub fn add(&mut self, id: &Id, values: [Option<pg_sys::Datum>; N]) {
        if self.open.as_ref().is_some_and(|(_, bounds)| !bounds.hold(id))
            && let Some((other, _)) = self.open.take()
        {
            other.finish();
        }
        let (inserter, _) =
            self.open.get_or_insert_with(|| self.parent.with(|parent| open(parent, id, self.columns)));
        inserter.add(values);
    }

    /// Writes what is left.
    pub fn finish(self) {
        if let Some((last, _)) = self.open {
            last.finish();
        }
    }
}

/// Opens the partition this id goes to. The bounds say which other ids go there as well.
fn open<const N: usize>(parent: &Parent, id: &Id, columns: &Columns<N>) -> (Inserter<N>, Bounds) {
    loop {
        let leaves = parent.leaves.get(|| load(parent));
        let found = leaves.dated.iter().find(|(bounds, _)| bounds.hold(id));
        let (bounds, table) = found.copied().unwrap_or_else(|| (leaves.gap_at(id), leaves.default));
        // Taking the lock brings news of partitions attached or dropped meanwhile.
        match Inserter::open(table, columns) {
            Some(inserter) if parent.leaves.is_fresh() => return (inserter, bounds),
            Some(outdated) => outdated.finish(),
            None => parent.leaves.forget(),
        }
    }
}

fn load(parent: &Parent) -> Leaves {
    let default = own_table(parent.default);
    cached::watch_relation(own_table(parent.name));
    cached::watch_relation(default);
    let mut dated = Vec::new();
    acting_as(own_role(OWNER), false, || {
        DATED.with(|statement| {
            statement.run(Seen::Latest, &[parent.name.to_str().ok().into_datum()], |row| {
                let bounds = Bounds { from: *row.must::<pgrx::Uuid>(2), to: *row.must::<pgrx::Uuid>(3) };
                dated.push((bounds, row.must(1)));
            });
        });
    });
    Leaves { dated, default }
}
