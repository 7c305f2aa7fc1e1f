//! Loading deliveries for the worker: rows of webhook.queue with their events, bodies and the revision of their endpoints,
//! all of it as the statement that calls sees it.

use crate::elements::Elements;
use crate::leaf::{EVENT, EVENT_BODY, Reader};
use crate::own_table::own_table;
use crate::probe::Probe;
use crate::table::{cells_of, place_of};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::HashMap;
use std::ffi::CStr;

/// Columns of webhook.owed.
const COLUMNS: usize = 20;

/// webhook.load_owed(rows, page_bytes): a row of webhook.owed for each of the queue's rows, in their order; bodies until
/// `page_bytes` are used up, the first always.
#[pg_extern(sql = false)]
fn load_owed(fcinfo: pg_sys::FunctionCallInfo) {
    let rows = unsafe { Elements::of_argument(fcinfo, 0) };
    let result = unsafe { Rows::returned_by(fcinfo) };
    load(rows, fcinfo, &result);
}

/// webhook.load_page(rows, page_bytes, next_due): the same after a row that has the snapshot it was read with, the number of rows
/// as size, and as due_in_s when the next is due.
#[pg_extern(sql = false)]
fn load_page(fcinfo: pg_sys::FunctionCallInfo) {
    let rows = unsafe { Elements::of_argument(fcinfo, 0) };
    let next_due = unsafe { pgrx::fcinfo::pg_getarg_datum(fcinfo, 2) };
    let result = unsafe { Rows::returned_by(fcinfo) };
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let mut head = [None; COLUMNS];
    head[SNAPSHOT] = Some(unsafe { snapshot() });
    head[DUE_IN_S] = next_due.map(|due| seconds(time(due) - now));
    head[SIZE] = Some(pg_sys::Datum::from(rows.as_ref().map_or(0, Elements::len) as i32));
    result.add(head);
    load(rows, fcinfo, &result);
}

fn load(rows: Option<Elements>, fcinfo: pg_sys::FunctionCallInfo, result: &Rows) {
    let Some(rows) = rows.filter(|rows| rows.len() > 0) else { return };
    let page_bytes = unsafe { pgrx::fcinfo::pg_getarg_datum(fcinfo, 1) }.map_or(0, |bytes| bytes.value());
    let mut loader = Loader::new();
    let mut used = 0;
    for place in 0..rows.len() {
        let Some(row) = rows.get(place) else { continue };
        let mut cells = loader.load(row);
        let size = cells[BODY].map(|body| unsafe { pg_sys::toast_raw_datum_size(body) } - pg_sys::VARHDRSZ);
        used += size.unwrap_or(0);
        cells[SIZE] = size.map(|size| pg_sys::Datum::from(size as i32));
        if place > 0 && used > page_bytes {
            cells[BODY] = None;
        }
        result.add(cells);
    }
    loader.finish();
}

// pgrx has them for calls only, not as pointers to functions.
unsafe extern "C-unwind" {
    fn pg_current_snapshot(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    fn pg_snapshot_out(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
}

/// pg_current_snapshot(), as text.
unsafe fn snapshot() -> pg_sys::Datum {
    unsafe {
        let none = pg_sys::InvalidOid;
        let current =
            pg_sys::DirectFunctionCall1Coll(Some(pg_current_snapshot), none, pg_sys::Datum::from(0usize));
        let written = pg_sys::DirectFunctionCall1Coll(Some(pg_snapshot_out), none, current);
        pg_sys::Datum::from(pg_sys::cstring_to_text(written.cast_mut_ptr()))
    }
}

fn time(at: pg_sys::Datum) -> pg_sys::TimestampTz {
    at.value() as pg_sys::TimestampTz
}

/// Of microseconds, as float8.
fn seconds(us: i64) -> pg_sys::Datum {
    pg_sys::Datum::from((us as f64 / 1e6).to_bits())
}

/// Places in webhook.owed.
const SNAPSHOT: usize = 0;
const DUE_IN_S: usize = 6;
const SIZE: usize = 16;
const BODY: usize = 17;

const QUEUE: [&CStr; 12] = [
    c"event_id",
    c"xid",
    c"due",
    c"signed_at",
    c"restarted_at",
    c"endpoint_id",
    c"attempts",
    c"step",
    c"generation",
    c"variant",
    c"signature",
    c"lane",
];

struct Loader {
    queue: pg_sys::TupleDesc,
    places: [usize; QUEUE.len()],
    events: Reader<1, 5>,
    bodies: Reader<2, 1>,
    /// None where there is no such endpoint.
    revisions: HashMap<usize, Option<pg_sys::Datum>>,
    endpoints: Probe<1, 1>,
    transaction_began: pg_sys::TimestampTz,
}

impl Loader {
    fn new() -> Self {
        let queue = unsafe {
            let relation = pg_sys::table_open(own_table(c"queue"), pg_sys::AccessShareLock as i32);
            let copy = pg_sys::CreateTupleDescCopy((*relation).rd_att);
            pg_sys::relation_close(relation, pg_sys::NoLock as i32);
            copy
        };
        let places = QUEUE.map(|name| unsafe { place_of(queue, name) });
        let endpoint = own_table(c"endpoint");
        let endpoints =
            Probe::open(endpoint, pg_sys::AccessShareLock, [(c"id", pg_sys::F_INT4EQ)], [c"revision"]);
        Self {
            queue,
            places,
            events: Reader::new(
                &EVENT,
                [(c"id", pg_sys::F_UUID_EQ)],
                [c"type", c"tenant", c"key", c"created_at", c"body"],
            ),
            bodies: Reader::new(
                &EVENT_BODY,
                [(c"event_id", pg_sys::F_UUID_EQ), (c"variant", pg_sys::F_INT4EQ)],
                [c"body"],
            ),
            revisions: HashMap::new(),
            endpoints: endpoints.unwrap_or_else(|| error!("pg_webhook: webhook.endpoint was dropped")),
            transaction_began: unsafe { pg_sys::GetCurrentTransactionStartTimestamp() },
        }
    }

    /// Of a row of the queue all but its size. What is pointed to lasts until the next one is loaded.
    fn load(&mut self, row: pg_sys::Datum) -> [Option<pg_sys::Datum>; COLUMNS] {
        let cells = unsafe { self.cells_of(row) };
        let [event_id, xid, due, signed_at, restarted_at, endpoint_id, rest @ ..] = cells;
        let [attempts, step, generation, variant, signature, lane] = rest;
        let (Some(event_id), Some(endpoint_id)) = (event_id, endpoint_id) else {
            error!("pg_webhook: a row of the queue without an event or an endpoint")
        };
        let id = unsafe { *event_id.cast_mut_ptr::<[u8; 16]>() };
        let event = self.events.find(&id, [event_id]).map_or([None; 5], |found| found.cells);
        let [event_type, tenant, key, created_at, own_body] = event;
        let body = match variant {
            None => own_body,
            Some(variant) => self.bodies.find(&id, [event_id, variant]).and_then(|found| found.cells[0]),
        };
        let began = self.transaction_began;
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        [
            None,
            Some(endpoint_id),
            Some(event_id),
            xid,
            attempts,
            step,
            due.map(|due| seconds(time(due) - began)),
            restarted_at.or(created_at).map(|since| seconds(began - time(since))),
            event_type,
            tenant,
            key,
            created_at,
            generation,
            signature,
            signed_at,
            signed_at.map(|at| seconds(now - time(at))),
            None,
            body,
            lane,
            self.revision(endpoint_id),
        ]
    }

    /// The columns of a row that is a value, in the order of [`QUEUE`].
    unsafe fn cells_of(&self, row: pg_sys::Datum) -> [Option<pg_sys::Datum>; QUEUE.len()] {
        unsafe {
            let whole = pg_sys::pg_detoast_datum(row.cast_mut_ptr());
            let (values, nulls) = cells_of(pg_sys::Datum::from(whole), self.queue);
            self.places.map(|place| (!nulls[place]).then(|| values[place]))
        }
    }

    fn revision(&mut self, endpoint_id: pg_sys::Datum) -> Option<pg_sys::Datum> {
        let endpoints = &mut self.endpoints;
        let read = || endpoints.find([endpoint_id]).and_then(|found| found.cells[0]);
        *self.revisions.entry(endpoint_id.value()).or_insert_with(read)
    }

    fn finish(self) {
        self.events.finish();
        self.bodies.finish();
        self.endpoints.close();
    }
}

/// The rows that a function returns, all at once.
struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    desc: pg_sys::TupleDesc,
}

impl Rows {
    /// # Safety
    /// The function is called in FROM.
    unsafe fn returned_by(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        unsafe {
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            let before = pg_sys::MemoryContextSwitchTo((*(*info).econtext).ecxt_per_query_memory);
            let desc = pg_sys::CreateTupleDescCopy((*info).expectedDesc);
            let store = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
            pg_sys::MemoryContextSwitchTo(before);
            (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            (*info).setResult = store;
            (*info).setDesc = desc;
            Self { store, desc }
        }
    }

    fn add(&self, cells: [Option<pg_sys::Datum>; COLUMNS]) {
        let mut values = cells.map(|cell| cell.unwrap_or(pg_sys::Datum::from(0usize)));
        let mut nulls = cells.map(|cell| cell.is_none());
        unsafe {
            pg_sys::tuplestore_putvalues(self.store, self.desc, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
    }
}
