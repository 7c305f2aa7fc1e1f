//! Waking the workers at commit, without making commits wait for each other.
//!
//! A transaction with a pending NOTIFY holds a cluster-wide lock through its commit flush. So of all transactions
//! that commit at a time only one notifies: whoever gets a try-lock. The others need not: a woken worker looks
//! again a moment later, and a sweep finds whatever is left. NOTIFY carries no data; losing one costs latency only.

use crate::{lock, raw};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::Cell;

thread_local! {
    static ENQUEUED: Cell<bool> = const { Cell::new(false) };
}

/// This transaction has written deliveries: the workers are told when it commits, and its commit is flushed even
/// under synchronous_commit = off. What has been delivered must not be lost in a crash.
pub fn on_commit() {
    ENQUEUED.set(true);
    unsafe { pg_sys::ForceSyncCommit() };
}

/// Whether there is something to tell or to forget.
pub fn is_due() -> bool {
    ENQUEUED.get()
}

/// Tells the workers, if this transaction, which is about to commit, has something for them.
pub fn workers() {
    if ENQUEUED.replace(false) && lock::try_lock_wake() && !queue_is_filling() {
        unsafe { raw::guarded(|| raw::Async_Notify(c"webhook_wake".as_ptr(), c"".as_ptr())) };
    }
}

/// There is nothing to tell after all.
pub fn forget() {
    ENQUEUED.set(false);
}

/// A listener that stands still fills the queue of notifications, and a full one fails every commit that notifies.
fn queue_is_filling() -> bool {
    unsafe {
        let usage = pg_sys::OidFunctionCall0Coll(
            pg_sys::Oid::from(pg_sys::F_PG_NOTIFICATION_QUEUE_USAGE),
            pg_sys::InvalidOid,
        );
        f64::from_datum(usage, false).unwrap_or(0.0) > 0.5
    }
}
