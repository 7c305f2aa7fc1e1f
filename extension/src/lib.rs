//! pg_webhook: events enqueued, signed, inside the transaction that makes them happen.
//!
//! This crate is the hot path of a writer's transaction; everything else is SQL (folder `sql/`, listed below in the
//! order it is installed) or the worker's. See ARCHITECTURE.md.

// PostgreSQL's own functions are unsafe to call; no other crate may.
#![allow(unsafe_code)]

mod attempts;
mod backoff;
mod batch;
mod body_function;
mod cached;
mod callback;
mod capture;
mod catalogue;
mod check;
mod column;
mod current;
mod ddl;
mod document;
mod elements;
mod emit;
mod ended;
mod estimate;
mod explain;
mod guc;
mod identifier;
mod identity;
mod inserter;
mod jsonb;
mod leaf;
mod lock;
mod owed;
mod own_table;
mod per_transaction;
mod probe;
mod raw;
mod rendering;
mod scratch;
mod setting;
mod sign;
mod source;
mod sqlstate;
mod statement;
mod store;
mod subscriber;
mod subscribers;
mod subtransaction;
mod table;
mod time_limit;
mod transaction;
mod transform;
mod transition;
mod variant;
mod wake;
mod write_plan;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

::pgrx::pg_module_magic!();

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    guc::register();
    transaction::register();
    cached::register();
    estimate::register();
}

/// Raises an error: what is wrong, and the way out.
#[track_caller]
fn raise(code: PgSqlErrorCode, message: impl Into<String>, hint: impl Into<String>) -> ! {
    let place = std::panic::Location::caller().file();
    ErrorReport::new(code, message.into(), place).set_hint(hint.into()).report(PgLogLevel::ERROR);
    unreachable!("an error report does not return")
}

/// Raises 22023: a value that is not valid.
#[track_caller]
fn refuse(message: impl Into<String>, hint: impl Into<String>) -> ! {
    raise(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint)
}

/// Installs the schema. Each file says what it holds; later ones build on earlier ones.
mod schema {
    use pgrx::extension_sql_file;

    extension_sql_file!("../../sql/roles.sql", name = "roles", bootstrap);
    extension_sql_file!("../../sql/setting.sql", name = "setting", requires = ["roles"]);
    extension_sql_file!("../../sql/native.sql", name = "native", requires = ["setting"]);
    extension_sql_file!("../../sql/arm.sql", name = "arm", requires = ["native"]);
    extension_sql_file!("../../sql/scheme.sql", name = "scheme", requires = ["arm"]);
    extension_sql_file!("../../sql/event.sql", name = "event", requires = ["scheme"]);
    extension_sql_file!("../../sql/queue.sql", name = "queue", requires = ["event"]);
    extension_sql_file!("../../sql/attempt.sql", name = "attempt", requires = ["queue"]);
    extension_sql_file!("../../sql/notice.sql", name = "notice", requires = ["attempt"]);
    extension_sql_file!("../../sql/endpoint.sql", name = "endpoint", requires = ["notice"]);
    extension_sql_file!("../../sql/taste.sql", name = "taste", requires = ["endpoint"]);
    extension_sql_file!("../../sql/secret.sql", name = "secret", requires = ["taste"]);
    extension_sql_file!("../../sql/health.sql", name = "health", requires = ["secret"]);
    extension_sql_file!("../../sql/callback.sql", name = "callback", requires = ["health"]);
    extension_sql_file!("../../sql/source.sql", name = "source", requires = ["callback"]);
    extension_sql_file!("../../sql/event_type.sql", name = "event_type", requires = ["source"]);
    extension_sql_file!("../../sql/attach.sql", name = "attach", requires = ["event_type"]);
    extension_sql_file!("../../sql/partition.sql", name = "partition", requires = ["attach"]);
    extension_sql_file!("../../sql/janitor.sql", name = "janitor", requires = ["partition"]);
    extension_sql_file!("../../sql/ddl.sql", name = "ddl", requires = ["janitor"]);
    extension_sql_file!("../../sql/delivery.sql", name = "delivery", requires = ["ddl"]);
    extension_sql_file!("../../sql/explain.sql", name = "explain", requires = ["delivery"]);
    extension_sql_file!("../../sql/stats.sql", name = "stats", requires = ["explain"]);
    extension_sql_file!("../../sql/cancel.sql", name = "cancel", requires = ["stats"]);
    extension_sql_file!("../../sql/endpoint_status.sql", name = "endpoint_status", requires = ["cancel"]);
    extension_sql_file!("../../sql/replay.sql", name = "replay", requires = ["endpoint_status"]);
    extension_sql_file!("../../sql/test.sql", name = "test", requires = ["replay"]);
    extension_sql_file!("../../sql/log.sql", name = "log", requires = ["test"]);
    extension_sql_file!("../../sql/emitted.sql", name = "emitted", requires = ["log"]);
    extension_sql_file!("../../sql/forget.sql", name = "forget", requires = ["emitted"]);
    extension_sql_file!("../../sql/tenant.sql", name = "tenant", requires = ["forget"]);
    extension_sql_file!("../../sql/worker/hello.sql", name = "worker_hello", requires = ["tenant"]);
    extension_sql_file!("../../sql/worker/slots.sql", name = "worker_slots", requires = ["worker_hello"]);
    extension_sql_file!(
        "../../sql/worker/endpoints.sql",
        name = "worker_endpoints",
        requires = ["worker_slots"]
    );
    extension_sql_file!("../../sql/worker/tail.sql", name = "worker_tail", requires = ["worker_endpoints"]);
    extension_sql_file!("../../sql/worker/backlog.sql", name = "worker_backlog", requires = ["worker_tail"]);
    extension_sql_file!("../../sql/worker/record.sql", name = "worker_record", requires = ["worker_backlog"]);
    extension_sql_file!(
        "../../sql/worker/callback.sql",
        name = "worker_callback",
        requires = ["worker_record"]
    );
    extension_sql_file!(
        "../../sql/worker/janitor.sql",
        name = "worker_janitor",
        requires = ["worker_callback"]
    );
    extension_sql_file!("../../sql/worker/mail.sql", name = "worker_mail", requires = ["worker_janitor"]);
    extension_sql_file!("../../sql/grants.sql", name = "grants", finalize);
}
