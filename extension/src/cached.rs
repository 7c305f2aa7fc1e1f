//! What a session keeps of the configuration, and when it is stale.
//!
//! Things are read once and kept until the configuration changes. A change sends a relation-cache invalidation of
//! webhook.endpoint to every session when it commits, and to its own at once, also when it is rolled back: the way
//! PostgreSQL keeps its own catalogs. What is read is the latest committed state, whatever the isolation level, so
//! a session with an old snapshot can't keep what is no longer true.

use crate::own_table::own_table;
use pgrx::prelude::*;
use pgrx::{pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

/// Something read from the database; make it a `thread_local!` static.
pub struct Cached<T> {
    /// None before it is read, and while it is.
    known: RefCell<Option<Rc<T>>>,
    /// Number of the configuration it was read at.
    epoch: Cell<u64>,
}

impl<T> Cached<T> {
    pub const fn new() -> Self {
        Self { known: RefCell::new(None), epoch: Cell::new(0) }
    }

    /// What is kept; read by `load` if nothing is, or the configuration changed.
    pub fn get(&self, load: impl FnOnce() -> T) -> Rc<T> {
        let epoch = epoch();
        if self.epoch.get() == epoch
            && let Some(known) = self.known.borrow().as_ref()
        {
            return known.clone();
        }
        self.forget();
        config_relation();
        let fresh = Rc::new(load());
        self.known.replace(Some(fresh.clone()));
        // The number from before loading: a change that came meanwhile leaves this stale.
        self.epoch.set(epoch);
        fresh
    }

    /// Whether what was read last is still what [`Cached::get`] would give, by what this session has heard so far.
    pub fn is_fresh(&self) -> bool {
        self.epoch.get() == EPOCH.get()
    }

    /// Has it read again.
    pub fn forget(&self) {
        self.known.take();
    }
}

thread_local! {
    /// Counts changes of configuration; what was cached under another number is stale.
    static EPOCH: Cell<u64> = const { Cell::new(1) };
    static RELATION_CHANGES: Cell<u64> = const { Cell::new(1) };
    static WATCHED: RefCell<HashSet<pg_sys::Oid>> = RefCell::new(HashSet::new());
    static CONFIG_RELATION: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// Number of the configuration as it is now.
fn epoch() -> u64 {
    // PostgreSQL looks for news when it takes a lock it did not have: a prepared statement that is executed again in
    // an open transaction takes none.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    EPOCH.get()
}

/// Counts the changes of any relations that this session has heard of: it hears of them when it takes a lock.
pub fn relation_changes() -> u64 {
    RELATION_CHANGES.get()
}

/// Registers the session's callbacks for changes: of relations, and of schemas, whose names stand in events' keys.
pub fn register() {
    let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(at_invalidation), pg_sys::Datum::from(0usize));
        pg_sys::CacheRegisterSyscacheCallback(schemas, Some(at_schema_change), pg_sys::Datum::from(0usize));
    }
}

/// Tells every session, when this transaction commits, to drop what it cached; and this one at once.
#[pg_extern(sql = false)]
fn drop_caches() {
    EPOCH.set(EPOCH.get() + 1);
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(config_relation()) };
}

fn config_relation() -> pg_sys::Oid {
    let relation = own_table(c"endpoint");
    CONFIG_RELATION.set(relation);
    relation
}

/// Also drops what is cached when this relation changes: a captured table whose columns are altered.
pub fn watch_relation(relation: pg_sys::Oid) {
    WATCHED.with_borrow_mut(|watched| {
        watched.insert(relation);
    });
}

/// May come at any look-up in a catalog, so it only counts.
#[pg_guard]
unsafe extern "C-unwind" fn at_invalidation(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    RELATION_CHANGES.set(RELATION_CHANGES.get() + 1);
    let config = CONFIG_RELATION.get();
    let concerns_us = relation == pg_sys::InvalidOid
        || relation == config
        || config == pg_sys::InvalidOid
        || WATCHED.with(|watched| watched.try_borrow().map_or(true, |w| w.contains(&relation)));
    if concerns_us {
        EPOCH.set(EPOCH.get() + 1);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_schema_change(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    EPOCH.set(EPOCH.get() + 1);
}
