//! How many rows the planner takes webhook.queue for. VACUUM counts them once a minute at most, and a queue that was all
//! but empty at that moment is full at the next: planned by that count, a statement reads the whole queue for each row
//! that it looks for. Where a statement would, its transaction has the queue's pages taken to be full, as those of a table
//! that VACUUM has never seen. Not everywhere: a file that was long once may have little in it, and what a user asks of
//! all of the queue is planned better by what VACUUM found.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::Cell;

/// A row has some 140 bytes with its signature.
const ROWS_A_PAGE: f64 = 50.0;

thread_local! {
    /// In this transaction.
    static TAKEN_FOR_FULL: Cell<bool> = const { Cell::new(false) };
    static NEXT: Cell<pg_sys::get_relation_info_hook_type> = const { Cell::new(None) };
}

/// Registers the session's hook.
pub fn register() {
    unsafe {
        NEXT.set(pg_sys::get_relation_info_hook);
        pg_sys::get_relation_info_hook = Some(at_planning);
    }
}

/// webhook.plan_for_full_queue(): from here on, until the transaction ends.
#[pg_extern(sql = false)]
fn plan_for_full_queue() {
    TAKEN_FOR_FULL.set(true);
}

/// The transaction ends.
pub fn forget() {
    TAKEN_FOR_FULL.set(false);
}

#[pg_guard]
unsafe extern "C-unwind" fn at_planning(
    planner: *mut pg_sys::PlannerInfo,
    table: pg_sys::Oid,
    has_children: bool,
    estimate: *mut pg_sys::RelOptInfo,
) {
    unsafe {
        if let Some(next) = NEXT.get() {
            next(planner, table, has_children, estimate);
        }
        if TAKEN_FOR_FULL.get() && is_queue(table) {
            fill_pages(&mut *estimate);
        }
    }
}

/// The extension may have been dropped since.
unsafe fn is_queue(table: pg_sys::Oid) -> bool {
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook".as_ptr(), true);
        schema != pg_sys::InvalidOid && pg_sys::get_relname_relid(c"queue".as_ptr(), schema) == table
    }
}

unsafe fn fill_pages(estimate: &mut pg_sys::RelOptInfo) {
    estimate.tuples = estimate.tuples.max(f64::from(estimate.pages) * ROWS_A_PAGE);
    let indexes = unsafe { pgrx::PgList::<pg_sys::IndexOptInfo>::from_pg(estimate.indexlist) };
    for index in indexes.iter_ptr() {
        let index = unsafe { &mut *index };
        // The others have some of the rows: how many is not known.
        if index.indpred.is_null() {
            index.tuples = estimate.tuples;
        }
    }
}
