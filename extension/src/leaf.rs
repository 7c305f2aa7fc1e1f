//! Which partition of webhook.event, webhook.event_body or webhook.attempt an id belongs to: what tuple routing would find,
//! looked up once per session.

use crate::cached::{self, Cached};
use crate::identity::{OWNER, acting_as, own_role};
use crate::inserter::Inserter;
use crate::own_table::own_table;
use crate::probe::{Found, KeyColumn, Probe};
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
    pub static ATTEMPT: Parent = const { Parent::new(c"attempt", c"attempt_default") };
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
        let (inserter, _) = self.open.get_or_insert_with(|| {
            self.parent.with(|parent| {
                open(parent, id, |table| Inserter::open(table, self.columns), Inserter::finish)
            })
        });
        inserter.add(values);
    }

    /// Writes what is left.
    pub fn finish(self) {
        if let Some((last, _)) = self.open {
            last.finish();
        }
    }
}

/// Looks rows up in whichever partitions their ids belong to: by N columns, the id among them, M columns of each.
pub struct Reader<const N: usize, const M: usize> {
    parent: &'static LocalKey<Parent>,
    key: [KeyColumn; N],
    columns: [&'static CStr; M],
    open: Vec<(Probe<N, M>, Bounds)>,
}

impl<const N: usize, const M: usize> Reader<N, M> {
    pub fn new(parent: &'static LocalKey<Parent>, key: [KeyColumn; N], columns: [&'static CStr; M]) -> Self {
        Self { parent, key, columns, open: Vec::new() }
    }

    /// The row with this key, of an id, as [`Probe::find`].
    pub fn find(&mut self, id: &Id, key: [pg_sys::Datum; N]) -> Option<Found<M>> {
        let known = self.open.iter().position(|(_, bounds)| bounds.hold(id));
        let place = known.unwrap_or_else(|| {
            let lock = pg_sys::AccessShareLock;
            let probe = |table| Probe::open(table, lock, self.key, self.columns);
            self.open.push(self.parent.with(|parent| open(parent, id, probe, Probe::close)));
            self.open.len() - 1
        });
        self.open[place].0.find(key)
    }

    /// Closes the partitions.
    pub fn finish(self) {
        for (probe, _) in self.open {
            probe.close();
        }
    }
}

/// Opens the partition this id goes to. The bounds say which other ids go there as well.
fn open<T>(
    parent: &Parent,
    id: &Id,
    open: impl Fn(pg_sys::Oid) -> Option<T>,
    close: impl Fn(T),
) -> (T, Bounds) {
    loop {
        let leaves = parent.leaves.get(|| load(parent));
        let found = leaves.dated.iter().find(|(bounds, _)| bounds.hold(id));
        let (bounds, table) = found.copied().unwrap_or_else(|| (leaves.gap_at(id), leaves.default));
        // Taking the lock brings news of partitions attached or dropped meanwhile. Had this transaction taken it before, there can be none that matter.
        match open(table) {
            Some(opened) if parent.leaves.is_fresh() => return (opened, bounds),
            Some(outdated) => close(outdated),
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
