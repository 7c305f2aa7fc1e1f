//! PostgreSQL's functions that a row takes many of, without the guard pgrx puts around each call: calls in a row share
//! one. With a guard each they were a tenth of what an emit executes besides PostgreSQL's own work.

use pgrx::pg_sys;

unsafe extern "C-unwind" {
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
    pub fn JsonbIteratorInit(container: *mut pg_sys::JsonbContainer) -> *mut pg_sys::JsonbIterator;
    pub fn JsonbIteratorNext(
        iterator: *mut *mut pg_sys::JsonbIterator,
        value: *mut pg_sys::JsonbValue,
        skip_nested: bool,
    ) -> pg_sys::JsonbIteratorToken::Type;
    pub fn DirectFunctionCall1Coll(
        function: pg_sys::PGFunction,
        collation: pg_sys::Oid,
        argument: pg_sys::Datum,
    ) -> pg_sys::Datum;
    pub fn numeric_out(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn pfree(pointer: *mut std::ffi::c_void);
}

/// Makes such calls. An error of PostgreSQL's is a panic after it, as from any other call.
///
/// # Safety
/// That error leaves `calls` where it stands: nothing in it has to be dropped, nor does it panic by itself.
pub unsafe fn guarded<R>(calls: impl FnOnce() -> R) -> R {
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(calls) }
}
