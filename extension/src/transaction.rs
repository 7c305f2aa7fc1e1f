//! What happens when a transaction ends. One callback handles every event, so nothing piles up over a session's life.

use crate::{estimate, per_transaction, wake};
use pgrx::{pg_guard, pg_sys};

/// Registers the callbacks of this session.
pub fn register() {
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(per_transaction::at_subtransaction_event), std::ptr::null_mut());
    }
}

/// Comes twice for every transaction of the session, most of which have nothing to do with events: a guard would be most
/// of what that costs.
unsafe extern "C-unwind" fn at_transaction_event(
    event: pg_sys::XactEvent::Type,
    _arg: *mut std::ffi::c_void,
) {
    estimate::forget();
    if wake::is_due() || per_transaction::is_concerned() {
        unsafe { concerned(event) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn concerned(event: pg_sys::XactEvent::Type) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => {
            per_transaction::flush();
            wake::workers();
        }
        // PREPARE TRANSACTION refuses a pending NOTIFY; the sweep finds what COMMIT PREPARED brings.
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => {
            per_transaction::flush();
            wake::forget();
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            per_transaction::forget();
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            per_transaction::forget();
            wake::forget();
        }
        _ => {}
    }
}
