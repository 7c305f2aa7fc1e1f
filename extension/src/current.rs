//! Whether a row was written by the transaction that looks at it.

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Whether a row's xmin is this transaction or one of its subtransactions that have not been rolled back.
#[pg_extern(sql = false)]
fn is_current(xmin: pg_sys::TransactionId) -> bool {
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xmin) }
}
