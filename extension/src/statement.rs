//! Fixed SQL, planned once per session. Every name in it is qualified, types and operators too: whoever set the
//! session's search_path could put a cast or an operator of his own in their place. So there is no `::text` in it, and
//! none of what looks for `=` by itself: IS DISTINCT FROM, IN, BETWEEN, NULLIF, LIKE.

use pgrx::prelude::*;
use pgrx::{Spi, pg_sys};
use std::cell::Cell;
use std::ffi::CStr;

/// One statement; make it a `thread_local!` static.
pub struct Statement {
    sql: &'static CStr,
    types: &'static [pg_sys::Oid],
    plan: Cell<pg_sys::SPIPlanPtr>,
}

/// Which state of the tables a statement sees.
#[derive(Clone, Copy, PartialEq)]
pub enum Seen {
    /// What this transaction may see, and its own changes; writes are allowed.
    Transaction,
    /// What is committed now, whatever the isolation level, and this transaction's own changes.
    Latest,
}

impl Statement {
    pub const fn new(sql: &'static CStr, types: &'static [pg_sys::Oid]) -> Self {
        Self { sql, types, plan: Cell::new(std::ptr::null_mut()) }
    }

    /// Runs it and hands each row of the result to `each`. None stands for NULL.
    pub fn run(&self, seen: Seen, args: &[Option<pg_sys::Datum>], each: impl FnMut(&Row)) {
        run_planned(&self.plan, self.sql, self.types, seen, args, each);
    }
}

/// The plan of a statement that is not fixed; freed with whoever it belongs to.
pub struct OwnedPlan(Cell<pg_sys::SPIPlanPtr>);

impl OwnedPlan {
    pub fn new() -> Self {
        Self(Cell::new(std::ptr::null_mut()))
    }

    /// Runs `sql`, always the same, and hands each row of the result to `each`.
    pub fn run(
        &self,
        sql: &CStr,
        types: &[pg_sys::Oid],
        args: &[Option<pg_sys::Datum>],
        each: impl FnMut(&Row),
    ) {
        run_planned(&self.0, sql, types, Seen::Transaction, args, each);
    }
}

impl Drop for OwnedPlan {
    fn drop(&mut self) {
        if !self.0.get().is_null() {
            unsafe { pg_sys::SPI_freeplan(self.0.get()) };
        }
    }
}

/// Runs `sql`, planning it first if `plan` is empty; the plan is kept in it until it is freed.
fn run_planned(
    plan: &Cell<pg_sys::SPIPlanPtr>,
    sql: &CStr,
    types: &[pg_sys::Oid],
    seen: Seen,
    args: &[Option<pg_sys::Datum>],
    mut each: impl FnMut(&Row),
) {
    let values: Vec<pg_sys::Datum> =
        args.iter().map(|arg| arg.unwrap_or(pg_sys::Datum::from(0usize))).collect();
    let nulls: Vec<std::ffi::c_char> =
        args.iter().map(|arg| if arg.is_some() { b' ' } else { b'n' } as std::ffi::c_char).collect();
    let latest = seen == Seen::Latest;
    Spi::connect_mut(|_| unsafe {
        if plan.get().is_null() {
            let fresh = pg_sys::SPI_prepare(sql.as_ptr(), types.len() as i32, types.as_ptr().cast_mut());
            if fresh.is_null() || pg_sys::SPI_keepplan(fresh) != 0 {
                error!("pg_webhook: a statement could not be prepared");
            }
            plan.set(fresh);
        }
        if latest {
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        }
        let status =
            pg_sys::SPI_execute_plan(plan.get(), values.as_ptr().cast_mut(), nulls.as_ptr(), latest, 0);
        if latest {
            pg_sys::PopActiveSnapshot();
        }
        if status < 0 {
            error!("pg_webhook: a statement failed: SPI status {status}");
        }
        let Some(table) = pg_sys::SPI_tuptable.as_ref() else { return };
        for index in 0..pg_sys::SPI_processed as usize {
            each(&Row { tuple: *table.vals.add(index), desc: table.tupdesc });
        }
    });
}

/// A row of a result; columns count from 1.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
}

impl Row {
    /// A column as a Rust value; None is NULL.
    pub fn get<T: FromDatum>(&self, column: i32) -> Option<T> {
        let mut is_null = false;
        unsafe {
            let datum = pg_sys::SPI_getbinval(self.tuple, self.desc, column, &mut is_null);
            T::from_datum(datum, is_null)
        }
    }

    /// A column that has no NULLs.
    pub fn must<T: FromDatum>(&self, column: i32) -> T {
        self.get(column)
            .unwrap_or_else(|| error!("pg_webhook: column {column} of an internal statement is NULL"))
    }
}
