//! PostgreSQL's functions that a row takes many of, without the guard pgrx puts around each call: calls in a row share
//! one. And what pgrx does not bind at all.

use pgrx::pg_sys;
use std::ffi::c_char;

unsafe extern "C-unwind" {
    // async.h
    pub fn Async_Notify(channel: *const c_char, payload: *const c_char);
    // utils/datum.h: equality of the stored bytes, toasted or not.
    pub fn datum_image_eq(value1: pg_sys::Datum, value2: pg_sys::Datum, by_value: bool, length: i32) -> bool;
    pub fn GetCurrentCommandId(used: bool) -> pg_sys::CommandId;
    pub fn heap_form_tuple(
        desc: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    ) -> pg_sys::HeapTuple;
    pub fn heap_insert(
        relation: pg_sys::Relation,
        tuple: pg_sys::HeapTuple,
        command: pg_sys::CommandId,
        options: i32,
        state: pg_sys::BulkInsertState,
    );
    pub fn heap_freetuple(tuple: pg_sys::HeapTuple);
    pub fn index_open(index: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;
    pub fn index_insert(
        index: pg_sys::Relation,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
        tid: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        unique: pg_sys::IndexUniqueCheck::Type,
        unchanged: bool,
        info: *mut pg_sys::IndexInfo,
    ) -> bool;
    pub fn index_close(index: pg_sys::Relation, lock: pg_sys::LOCKMODE);
}

/// Makes such calls. An error of PostgreSQL's is a panic after it, as from any other call.
///
/// # Safety
/// That error leaves `calls` where it stands: nothing in it has to be dropped. It must not panic by itself, not even on data
/// that can't be: this would end the server's process, and with it every session.
pub unsafe fn guarded<R>(calls: impl FnOnce() -> R) -> R {
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(calls) }
}
