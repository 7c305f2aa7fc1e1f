//! A limit of time for code of users that no code can catch: the session ends, as by pg_terminate_backend().

use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::c_int;

/// From when it is made until it is dropped, on an error too.
pub struct TimeLimit(c_int);

// utils/timeout.h: TimeoutId
#[cfg(feature = "pg14")]
const USER_TIMEOUT: c_int = 10;
#[cfg(any(feature = "pg15", feature = "pg16"))]
const USER_TIMEOUT: c_int = 12;
#[cfg(any(feature = "pg17", feature = "pg18"))]
const USER_TIMEOUT: c_int = 13;

unsafe extern "C-unwind" {
    // utils/timeout.h; pgrx binds none of it.
    fn RegisterTimeout(id: c_int, handler: unsafe extern "C-unwind" fn()) -> c_int;
    fn enable_timeout_after(id: c_int, delay_ms: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
}

thread_local! {
    /// A session has room for a few of them: it is registered once.
    static REGISTERED: Cell<Option<c_int>> = const { Cell::new(None) };
}

impl TimeLimit {
    pub fn start(ms: i32) -> Self {
        unsafe {
            let id = REGISTERED.get().unwrap_or_else(|| RegisterTimeout(USER_TIMEOUT, end_session));
            REGISTERED.set(Some(id));
            enable_timeout_after(id, ms.max(1));
            Self(id)
        }
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        unsafe { disable_timeout(self.0, false) };
    }
}

/// In a signal handler, which has woken whatever waits: PostgreSQL ends the session as soon as it looks for interrupts.
unsafe extern "C-unwind" fn end_session() {
    unsafe {
        pg_sys::InterruptPending = 1;
        pg_sys::ProcDiePending = 1;
    }
}
