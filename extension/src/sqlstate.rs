//! SQLSTATEs that pgrx does not know. It keeps PostgreSQL's own codes of an error that passes through Rust; one that a
//! user's function made up (RAISE … USING ERRCODE) would arrive as XX000, an internal error.

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::cell::Cell;

unsafe extern "C-unwind" {
    // elog.h; pgrx binds no function that makes a report.
    fn errcode(code: i32) -> i32;
    fn geterrcode() -> i32;
}

thread_local! {
    /// Of what was reported last.
    static LAST: Cell<i32> = const { Cell::new(0) };
    /// For what is reported next.
    static NEXT: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Calls `work`, in which [`as_in`] knows the codes of PostgreSQL's errors.
///
/// # Safety
/// `work` is a guarded function; errors leave it, and this function, as PostgreSQL's do.
pub unsafe fn watching(
    work: unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    unsafe {
        let mut callback = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(at_report),
            arg: std::ptr::null_mut(),
        };
        pg_sys::error_context_stack = &mut callback;
        let result = work(fcinfo);
        pg_sys::error_context_stack = callback.previous;
        result
    }
}

/// Runs `report`, which makes one report with the error's code as pgrx knows it, and sees to it that it has the real one.
pub fn as_in<R>(error: &CaughtError, report: impl FnOnce() -> R) -> R {
    if let CaughtError::PostgresError(known) = error
        && known.sql_error_code() == PgSqlErrorCode::ERRCODE_INTERNAL_ERROR
    {
        NEXT.set(Some(LAST.get()));
    }
    let result = report();
    NEXT.set(None);
    result
}

/// PostgreSQL calls it for each report that is made, an error's or not.
unsafe extern "C-unwind" fn at_report(_arg: *mut std::ffi::c_void) {
    unsafe {
        match NEXT.take() {
            Some(code) => {
                errcode(code);
            }
            None => LAST.set(geterrcode()),
        }
    }
}
