//! Work whose failure leaves the statement it belongs to as it was.

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::{PgTryBuilder, pg_sys};
use std::panic::AssertUnwindSafe;

/// Runs `work` in a subtransaction; its error, if it has one, once that is rolled back. What interrupts the session
/// passes through.
pub fn run<R>(work: impl FnOnce() -> R) -> Result<R, Box<CaughtError>> {
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(memory);
        let mut work = Some(work);
        let result = PgTryBuilder::new(AssertUnwindSafe(|| {
            let done = work.take().map(|work| work());
            pg_sys::ReleaseCurrentSubTransaction();
            Ok(done)
        }))
        .catch_others(|error| match &error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
                if !is_interruption(report.sql_error_code()) =>
            {
                pg_sys::MemoryContextSwitchTo(memory);
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                Err(Box::new(error))
            }
            _ => error.rethrow(),
        })
        .execute();
        pg_sys::MemoryContextSwitchTo(memory);
        pg_sys::CurrentResourceOwner = owner;
        result.map(|done| done.unwrap_or_else(|| error!("pg_webhook: a subtransaction ran twice")))
    }
}

/// Cancellation, shutdown and serialization failures pass as they are.
pub fn is_interruption(code: PgSqlErrorCode) -> bool {
    matches!(
        code,
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED
            | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
            | PgSqlErrorCode::ERRCODE_CRASH_SHUTDOWN
            | PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE
            | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
    )
}
