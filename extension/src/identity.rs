//! Acting as another role, for the parts of emit and capture that must not run with the writer's rights.

use pgrx::pg_sys;
use std::ffi::CStr;

/// Owns the tables; the fixed internal statements run as this role.
pub const OWNER: &CStr = c"webhook_owner";
/// May do nothing; rows are rendered and conditions evaluated as this role.
pub const NOBODY: &CStr = c"webhook_nobody";

/// The role's id, or None if there is no such role.
pub fn role(name: &CStr) -> Option<pg_sys::Oid> {
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The role pg_webhook made itself; its absence is an error that says so.
pub fn own_role(name: &CStr) -> pg_sys::Oid {
    role(name).unwrap_or_else(|| {
        crate::raise(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("role {} does not exist", name.to_string_lossy()),
            "It was made with the extension and is needed by it: create it again with NOLOGIN.",
        )
    })
}

/// Runs `work` as `role`. `restricted` makes it a security-restricted operation: code of that role can't leave
/// anything behind that would run with the session's rights.
///
/// On an error the abort of the (sub)transaction puts the identity back, as after any PostgreSQL function.
pub fn acting_as<R>(role: pg_sys::Oid, restricted: bool, work: impl FnOnce() -> R) -> R {
    let mut user = pg_sys::InvalidOid;
    let mut context = 0;
    let mut added = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
    if restricted {
        added |= pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
    }
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | added);
    }
    let result = work();
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    result
}
