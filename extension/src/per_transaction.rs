//! One event per row and transaction, for sources that ask for it: changes are remembered as statements make them and
//! become events when the transaction commits, with the first old values and the last new ones.

use crate::batch::Batch;
use crate::capture;
use crate::column::Values;
use crate::source::{self, Capture, Source};
use crate::table::Table;
use crate::transition;
use pgrx::prelude::*;
use pgrx::{pg_guard, pg_sys};
use protocol::fold::{self, Keyed, fold};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a statement did to a row of a source's table; without old and new it was TRUNCATE.
struct Change {
    /// Rolled back with it.
    subtransaction: pg_sys::SubTransactionId,
    statement: u64,
    captured: Rc<Capture>,
    source: usize,
    old: Option<Keyed<pg_sys::Datum>>,
    new: Option<Keyed<pg_sys::Datum>>,
}

thread_local! {
    static CHANGES: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
    /// Where the rows are kept until the transaction ends, and freed with it.
    static MEMORY: Cell<pg_sys::MemoryContext> = const { Cell::new(std::ptr::null_mut()) };
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
}

/// Remembers what the statement changed, for one source.
///
/// # Safety
/// As [`transition::for_each`]; rows are read as webhook_nobody, with pinned settings.
pub unsafe fn remember(trigger: &pg_sys::TriggerData, captured: &Rc<Capture>, source: usize) {
    let table = &captured.table;
    if table.primary_key.is_empty() {
        crate::raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{} has no primary key, which per_transaction tells rows by", table.name),
            "Add a primary key, or attach the table again without per_transaction.",
        );
    }
    let statement = STATEMENTS.replace(STATEMENTS.get() + 1);
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let memory = memory();
    let push = |old, new| {
        let change = Change { subtransaction, statement, captured: captured.clone(), source, old, new };
        CHANGES.with_borrow_mut(|changes| changes.push(change));
    };
    if trigger.tg_oldtable.is_null() && trigger.tg_newtable.is_null() {
        return push(None, None);
    }
    let keep = |row: &Values| Keyed {
        key: table.text_of(&table.primary_key, row),
        row: unsafe {
            let before = pg_sys::MemoryContextSwitchTo(memory);
            let kept = table.row(row);
            pg_sys::MemoryContextSwitchTo(before);
            kept
        },
    };
    unsafe { transition::for_each(trigger, table, |old, new| push(old.map(keep), new.map(keep))) };
}

fn memory() -> pg_sys::MemoryContext {
    if MEMORY.get().is_null() {
        MEMORY.set(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopTransactionContext,
                c"pg_webhook rows of this transaction".as_ptr(),
                0,
                8 * 1024,
                8 * 1024 * 1024,
            )
        });
    }
    MEMORY.get()
}

/// Makes the events. Called when the transaction is about to commit or to be prepared; an error aborts it.
pub fn flush() {
    let changes = CHANGES.take();
    if changes.is_empty() {
        return;
    }
    // Sources in the order of their first changes; each its own changes.
    let mut groups: Vec<Vec<Change>> = Vec::new();
    for change in changes {
        let group = groups.iter_mut().find(|group| {
            group[0].captured.table.id == change.captured.table.id
                && group[0].source().name == change.source().name
        });
        match group {
            Some(group) => group.push(change),
            None => groups.push(vec![change]),
        }
    }
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    for group in groups {
        let relation =
            unsafe { pg_sys::try_relation_open(group[0].captured.table.id, pg_sys::AccessShareLock as i32) };
        // A table that was dropped, or is no source any more, has nothing to say.
        if relation.is_null() {
            continue;
        }
        if let Some(current) = source::of(relation)
            && let Some(source) = current.sources.iter().find(|source| source.name == group[0].source().name)
        {
            capture::guarded(&current.table, source.warns, || make_events(&current.table, source, group));
        }
        unsafe { pg_sys::relation_close(relation, pg_sys::NoLock as i32) };
    }
    unsafe { pg_sys::PopActiveSnapshot() };
}

impl Change {
    fn source(&self) -> &Source {
        &self.captured.sources[self.source]
    }

    fn is_truncate(&self) -> bool {
        self.old.is_none() && self.new.is_none()
    }
}

fn make_events(table: &Table, source: &Source, changes: Vec<Change>) {
    if changes.iter().any(|change| !change.captured.table.has_rows_as(table)) {
        crate::raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{} was altered in the transaction that had changed rows of it", table.name),
            "With per_transaction, alter the table in a transaction of its own.",
        );
    }
    capture::rendering_as_nobody(table, &[source], |batch| {
        // What was changed before a TRUNCATE is told before it.
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let stretch = std::iter::from_fn(|| changes.next_if(|change| !change.is_truncate()));
            let rows =
                fold(stretch.map(|Change { statement, old, new, .. }| fold::Change { statement, old, new }));
            for (old, new) in rows {
                add(batch, table, source, old, new);
            }
            if changes.next().is_some() {
                batch.truncated(table, source);
            }
        }
    });
}

fn add(
    batch: &mut Batch,
    table: &Table,
    source: &Source,
    old: Option<pg_sys::Datum>,
    new: Option<pg_sys::Datum>,
) {
    let [old, new] = [old, new].map(|row| row.map(|row| table.columns_of(row)));
    let [old, new] = [&old, &new].map(|row| row.as_ref().map(|(values, nulls)| Values::new(values, nulls)));
    batch.changed(table, &[source], old.as_ref(), new.as_ref());
}

/// Whether this transaction has changed rows of such a source.
pub fn is_concerned() -> bool {
    !MEMORY.get().is_null()
}

/// The transaction is over.
pub fn forget() {
    CHANGES.with_borrow_mut(Vec::clear);
    MEMORY.set(std::ptr::null_mut());
}

/// What a savepoint takes back is forgotten; what is released belongs to the one around it.
#[pg_guard]
pub unsafe extern "C-unwind" fn at_subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    CHANGES.with_borrow_mut(|changes| match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            while changes.last().is_some_and(|change| change.subtransaction == ended) {
                changes.pop();
            }
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            let its = changes.iter_mut().rev().take_while(|change| change.subtransaction == ended);
            its.for_each(|change| change.subtransaction = parent);
        }
        _ => {}
    });
}
