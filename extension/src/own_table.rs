//! Tables of pg_webhook's own, by name.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CStr;

/// The id of a table in schema webhook.
pub fn own_table(name: &CStr) -> pg_sys::Oid {
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook".as_ptr(), false);
        let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            error!("pg_webhook: table webhook.{} does not exist", name.to_string_lossy());
        }
        table
    }
}
