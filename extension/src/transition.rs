//! The rows a statement changed: a trigger's transition tables, read in one pass.

use crate::column::Values;
use crate::table::Table;
use pgrx::pg_sys;
use std::collections::HashSet;

/// One transition table and a slot to read it with.
struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    pointer: i32,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Rows {
    /// # Safety
    /// `store` is a transition table of the trigger that is running, of the type of `relation`.
    unsafe fn new(store: *mut pg_sys::Tuplestorestate, relation: pg_sys::Relation) -> Self {
        unsafe {
            let pointer = pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(store, pointer);
            pg_sys::tuplestore_rescan(store);
            let slot = pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &pg_sys::TTSOpsMinimalTuple);
            Self { store, pointer, slot }
        }
    }

    fn count(&self) -> i64 {
        unsafe { pg_sys::tuplestore_tuple_count(self.store) }
    }

    /// The next row; its values stand until the next call.
    fn next(&mut self) -> Option<Values<'_>> {
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot).then(|| Values::of(self.slot))
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // On an error the abort of the transaction has the slot's memory.
        if !std::thread::panicking() {
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
        }
    }
}

/// Hands each changed row to `each` as (old, new): one of them for INSERT and DELETE, both for UPDATE.
///
/// The old and the new table of an UPDATE are filled together, so rows pair by position as long as there are as many
/// of the one as of the other. Not so when a BEFORE trigger dropped a row on its way to another partition: then they
/// pair by what the statement left of the primary key, and an old row that has no new one was deleted.
///
/// # Safety
/// `trigger` is the data of a running statement-level AFTER trigger with the transition tables of its event.
pub unsafe fn for_each(
    trigger: &pg_sys::TriggerData,
    table: &Table,
    mut each: impl FnMut(Option<&Values>, Option<&Values>),
) {
    let rows = |store: *mut pg_sys::Tuplestorestate| {
        (!store.is_null()).then(|| unsafe { Rows::new(store, trigger.tg_relation) })
    };
    match (rows(trigger.tg_oldtable), rows(trigger.tg_newtable)) {
        (None, Some(mut new)) => {
            while let Some(row) = new.next() {
                pgrx::check_for_interrupts!();
                each(None, Some(&row));
            }
        }
        (Some(mut old), None) => {
            while let Some(row) = old.next() {
                pgrx::check_for_interrupts!();
                each(Some(&row), None);
            }
        }
        (Some(mut old), Some(mut new)) if old.count() == new.count() => {
            while let (Some(before), Some(after)) = (old.next(), new.next()) {
                pgrx::check_for_interrupts!();
                each(Some(&before), Some(&after));
            }
        }
        (Some(old), Some(new)) => unsafe { pair_by_key(old, new, trigger.tg_updatedcols, table, each) },
        (None, None) => {}
    }
}

/// The new rows are some of the old ones, in the same order. What tells a row is what the statement left of its
/// primary key; what it set to something else says nothing: a neighbour may have that key now.
unsafe fn pair_by_key(
    mut old: Rows,
    mut new: Rows,
    updated: *const pg_sys::Bitmapset,
    table: &Table,
    mut each: impl FnMut(Option<&Values>, Option<&Values>),
) {
    let kept = unsafe { table.primary_key_without(updated) };
    if kept.is_empty() {
        let why = if table.primary_key.is_empty() {
            "it has no primary key"
        } else {
            "the statement sets all of the primary key"
        };
        cannot_pair(table, why);
    }
    let mut seen = HashSet::new();
    let mut awaited = new.next().map(|row| table.text_of(&kept, &row));
    while let Some(before) = old.next() {
        pgrx::check_for_interrupts!();
        let key = table.text_of(&kept, &before);
        if awaited.as_ref() == Some(&key) {
            each(Some(&before), Some(&unsafe { Values::of(new.slot) }));
            awaited = new.next().map(|row| table.text_of(&kept, &row));
        } else {
            each(Some(&before), None);
        }
        if !seen.insert(key) {
            cannot_pair(table, "what the statement leaves of the primary key is not unique");
        }
    }
    if awaited.is_some() {
        cannot_pair(table, "a trigger changes the primary key");
    }
}

fn cannot_pair(table: &Table, why: &str) -> ! {
    crate::raise(
        pgrx::PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "old and new rows of {} can't be told apart: some were dropped while they moved to another partition, and {why}",
            table.name
        ),
        "A BEFORE trigger that returns NULL does this; move such rows in a statement of their own.",
    )
}
