//! Callbacks: functions of a delivery's outcome, called in the worker's session and run as whoever configured them.
//!
//! The statement_timeout that the worker sets cancels one that takes too long. Code may catch that and go on; so there
//! is a second limit, which ends the session. It stands here and not in the worker, for that may be gone by then.

use crate::body_function::{Purpose, configurer, resolve};
use crate::identity::acting_as;
use crate::rendering::{pin_code, unpin};
use crate::statement::OwnedPlan;
use crate::time_limit::TimeLimit;
use pgrx::prelude::*;
use pgrx::{pg_getarg, pg_getarg_datum, pg_sys};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::rc::Rc;

/// Plans kept by a session; beyond it all are made anew.
const PLANS: usize = 64;

thread_local! {
    /// By what is called, and as whom: planning asks for rights.
    static KNOWN: RefCell<HashMap<(CString, pg_sys::Oid), Rc<OwnedPlan>>> = RefCell::new(HashMap::new());
}

/// webhook.call_back(name text, configured_by text, outcome jsonb, end_ms int): calls it; raises what it raises. Ends
/// the session if it still runs after `end_ms` milliseconds.
#[pg_extern(sql = false)]
fn call_back(fcinfo: pg_sys::FunctionCallInfo) {
    let (name, configured_by, outcome, end_ms) = unsafe {
        (
            pg_getarg::<&str>(fcinfo, 0).unwrap_or_default(),
            pg_getarg::<&str>(fcinfo, 1).unwrap_or_default(),
            pg_getarg_datum(fcinfo, 2),
            pg_getarg::<i32>(fcinfo, 3).unwrap_or_default(),
        )
    };
    let role = configurer(Purpose::Callback, name, configured_by);
    let limit = TimeLimit::start(end_ms);
    let pinned = pin_code();
    acting_as(role, true, || {
        // Each time: it may belong to somebody else by now.
        let call = resolve(Purpose::Callback, name, pg_sys::JSONBOID, role).call;
        plan(&call, role).run(&call, &[pg_sys::JSONBOID], &[outcome], |_| ());
    });
    unpin(pinned);
    drop(limit);
}

fn plan(call: &CString, role: pg_sys::Oid) -> Rc<OwnedPlan> {
    KNOWN.with_borrow_mut(|known| {
        let key = (call.clone(), role);
        if known.len() >= PLANS && !known.contains_key(&key) {
            known.clear();
        }
        known.entry(key).or_insert_with(|| Rc::new(OwnedPlan::new())).clone()
    })
}

/// Raises what is wrong with a callback the current user wants to configure.
#[pg_extern(sql = false)]
fn check_callback(name: &str) {
    resolve(Purpose::Callback, name, pg_sys::JSONBOID, unsafe { pg_sys::GetUserId() });
}
