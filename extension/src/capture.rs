//! `webhook.capture()`: the trigger that makes events of a table's row changes. One pass per statement, whatever the
//! number of rows.
//!
//! Rows are rendered, and conditions evaluated, as a role without any right and in a security-restricted operation;
//! a body function runs as whoever configured it; only the fixed inserts run as webhook_owner.

use crate::batch::Batch;
use crate::identity::{NOBODY, acting_as, own_role};
use crate::source::{self, Capture, Operation, Source};
use crate::table::Table;
use crate::{guc, per_transaction, rendering, sqlstate, subtransaction, transition};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::{PgTryBuilder, pg_guard, pg_sys};
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_webhook_capture() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// The trigger function. Statement-level AFTER triggers with transition tables only; webhook_attach() makes them.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn webhook_capture(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    unsafe { sqlstate::watching(guarded_capture, fcinfo) }
}

#[pg_guard]
unsafe extern "C-unwind" fn guarded_capture(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            misused();
        }
        let trigger = &*context.cast::<pg_sys::TriggerData>();
        let timing = pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK;
        if trigger.tg_event & timing != pg_sys::TRIGGER_EVENT_AFTER {
            misused();
        }
        let operation = match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Operation::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Operation::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Operation::Delete,
            _ => Operation::Truncate,
        };
        let wanted = match operation {
            Operation::Insert => (false, true),
            Operation::Update => (true, true),
            Operation::Delete => (true, false),
            Operation::Truncate => (false, false),
        };
        if wanted != (!trigger.tg_oldtable.is_null(), !trigger.tg_newtable.is_null()) {
            misused();
        }
        if !guc::SUPPRESS.get()
            && let Some(captured) = source::of(trigger.tg_relation)
        {
            capture(trigger, &captured, operation);
        }
    }
    pg_sys::Datum::from(0usize)
}

fn misused() -> ! {
    crate::raise(
        pgrx::PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        "webhook.capture() is a statement-level AFTER trigger with transition tables",
        "webhook_attach() makes its triggers.",
    )
}

unsafe fn capture(trigger: &pg_sys::TriggerData, captured: &Rc<Capture>, operation: Operation) {
    let table = &captured.table;
    if operation == Operation::Truncate && truncated_with_parent(trigger) {
        return;
    }
    // An update whose row is gone afterwards is a delete, so sources of either matter to an update.
    let concerned = |source: &&Source| {
        !source.per_transaction
            && (source.event_type(operation).is_some()
                || (operation == Operation::Update && source.event_type(Operation::Delete).is_some()))
    };
    let (warning, raising): (Vec<&Source>, Vec<&Source>) =
        captured.sources.iter().filter(concerned).partition(|source| source.warns);
    if !raising.is_empty() {
        guarded(table, false, || unsafe { make_events(trigger, table, &raising, operation) });
    }
    for source in warning {
        guarded(table, true, || unsafe { make_events(trigger, table, &[source], operation) });
    }
    for (index, source) in captured.sources.iter().enumerate().filter(|(_, source)| source.per_transaction) {
        guarded(table, source.warns, || {
            rendering_as_nobody(table, &[source], |_| unsafe {
                per_transaction::remember(trigger, captured, index)
            });
        });
    }
}

/// Runs what may fail by its source's on_error: the statement fails, or goes through without its events.
pub fn guarded(table: &Table, warns: bool, work: impl FnOnce()) {
    if warns {
        in_subtransaction(&table.name, work);
    } else {
        let mut work = Some(work);
        let name = table.name.as_str();
        PgTryBuilder::new(AssertUnwindSafe(|| {
            if let Some(work) = work.take() {
                work();
            }
        }))
        .catch_others(|error| fail(name, error))
        .execute();
    }
}

/// Reads rows as a role without any right, with pinned settings, and writes the events made of them.
pub fn rendering_as_nobody(table: &Table, sources: &[&Source], work: impl FnOnce(&mut Batch)) {
    sources.iter().for_each(|source| source.check());
    let nobody = own_role(NOBODY);
    let mut batch = Batch::new();
    let pinned = rendering::pin(table, sources);
    acting_as(nobody, true, || {
        work(&mut batch);
        batch.flush();
    });
    rendering::unpin(pinned);
}

unsafe fn make_events(
    trigger: &pg_sys::TriggerData,
    table: &Table,
    sources: &[&Source],
    operation: Operation,
) {
    rendering_as_nobody(table, sources, |batch| {
        if operation == Operation::Truncate {
            sources.iter().for_each(|source| batch.truncated(table, source));
        } else {
            unsafe {
                transition::for_each(trigger, table, |old, new| batch.changed(table, sources, old, new))
            };
        }
    });
}

/// A partition whose own TRUNCATE trigger is still to fire for a statement that truncated its parent.
struct Truncated {
    partition: pg_sys::Oid,
    transaction: pg_sys::TransactionId,
    subtransaction: pg_sys::SubTransactionId,
}

thread_local! {
    static TRUNCATED: RefCell<Vec<Truncated>> = const { RefCell::new(Vec::new()) };
}

/// TRUNCATE of a parent fires the triggers of its partitions too, the parent's first: it is one event.
fn truncated_with_parent(trigger: &pg_sys::TriggerData) -> bool {
    let written = unsafe { (*trigger.tg_relation).rd_id };
    let transaction = unsafe { pg_sys::GetTopTransactionId() };
    let is_pending = TRUNCATED.with_borrow_mut(|pending| {
        // What failed half-way and was rolled back fires no more triggers.
        pending.retain(|t| {
            t.transaction == transaction && unsafe { pg_sys::SubTransactionIsActive(t.subtransaction) }
        });
        let place = pending.iter().position(|t| t.partition == written);
        place.map(|index| pending.swap_remove(index)).is_some()
    });
    if !is_pending {
        let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
        let below = source::truncate_triggers_below(written).into_iter();
        TRUNCATED.with_borrow_mut(|pending| {
            pending.extend(below.map(|partition| Truncated { partition, transaction, subtransaction }));
        });
    }
    is_pending
}

/// A failing capture fails the statement, and says which table and why.
fn fail(table: &str, error: CaughtError) {
    match &error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
            if !subtransaction::is_interruption(report.sql_error_code()) =>
        {
            let message = format!("webhook capture of {table} failed: {}", report.message());
            let hint = report.hint().unwrap_or("SET LOCAL pg_webhook.suppress = on writes without events.");
            sqlstate::as_in(&error, || crate::raise(report.sql_error_code(), message, hint))
        }
        _ => error.rethrow(),
    }
}

/// on_error = warn: the change goes through without its event.
fn in_subtransaction(table: &str, work: impl FnOnce()) {
    if let Err(error) = subtransaction::run(work)
        && let CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) = &*error
    {
        let message =
            format!("webhook capture of {table} failed, the change is no event: {}", report.message());
        sqlstate::as_in(&error, || ereport!(WARNING, report.sql_error_code(), message));
    }
}
