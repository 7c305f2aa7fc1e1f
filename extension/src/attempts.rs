//! Writing the log of attempts: rows straight into the partition they belong to, without the executor.

use crate::elements::{Elements, text};
use crate::leaf::{ATTEMPT, Writer};
use crate::own_table::own_table;
use crate::write_plan::Columns;
use pgrx::pg_sys;
use pgrx::prelude::*;

static COLUMNS: Columns<16> = [
    c"event_id",
    c"id",
    c"endpoint_id",
    c"number",
    c"started_at",
    c"recorded_at",
    c"duration",
    c"status_code",
    c"final",
    c"outcome",
    c"error",
    c"url",
    c"remote_address",
    c"request_headers",
    c"response_headers",
    c"response_body",
];

/// What webhook.log_attempts() is given, an element each a row.
const ARRAYS: usize = 16;

/// webhook.log_attempts(recorded_at, arrays…): writes a row of webhook.attempt for each element, but for those that
/// `known` or `stays` has true. Where the table has triggers for it, nothing: returns false.
#[pg_extern(sql = false)]
fn log_attempts(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    if unsafe { fires_on_insert(own_table(c"attempt")) } {
        return false;
    }
    let recorded_at = unsafe { pgrx::fcinfo::pg_getarg_datum(fcinfo, 0) };
    let arrays: [Option<Elements>; ARRAYS] =
        std::array::from_fn(|number| unsafe { Elements::of_argument(fcinfo, number + 1) });
    let count = arrays[0].as_ref().map_or(0, Elements::len);
    // They last until the rows are written.
    let mut durations = Vec::with_capacity(count);
    let mut writer = Writer::new(&ATTEMPT, &COLUMNS);
    // By event: a partition is opened once, and an index is written to from one end to the other.
    let id_at = |place: &usize| {
        let id = arrays[0].as_ref().and_then(|ids| ids.get(*place));
        id.map(|id| unsafe { *id.cast_mut_ptr::<[u8; 16]>() })
    };
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by_cached_key(id_at);
    for place in places {
        let cells = arrays.each_ref().map(|array| array.as_ref().and_then(|array| array.get(place)));
        let [event_id, id, endpoint_id, number, started_at, duration_s, status_code, outcome, rest @ ..] =
            cells;
        let [error, url, remote_address, request_headers, response_headers, response_body, known, stays] =
            rest;
        let is_true = |cell: Option<pg_sys::Datum>| cell.is_some_and(|cell| cell.value() != 0);
        if is_true(known) || is_true(stays) {
            continue;
        }
        let (Some(key), Some(outcome)) = (id_at(&place), outcome) else {
            error!("pg_webhook: an attempt without an event or an outcome")
        };
        let duration = duration_s.map(|seconds| {
            durations.push(interval(f64::from_bits(seconds.value() as u64)));
            pg_sys::Datum::from(durations.last().map_or(std::ptr::null(), std::ptr::from_ref))
        });
        writer.add(
            &key,
            [
                event_id,
                id,
                endpoint_id,
                number,
                started_at,
                recorded_at,
                duration,
                status_code,
                Some(pg_sys::Datum::from(unsafe { text(outcome) } != b"retry")),
                Some(outcome),
                error,
                url,
                remote_address,
                request_headers,
                response_headers,
                response_body,
            ],
        );
    }
    writer.finish();
    true
}

/// Whether an insert would have to fire triggers. Those of the table are its partitions' as well.
unsafe fn fires_on_insert(table: pg_sys::Oid) -> bool {
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let fires = (*relation).trigdesc.as_ref().is_some_and(|triggers| {
            triggers.trig_insert_before_row
                || triggers.trig_insert_after_row
                || triggers.trig_insert_before_statement
                || triggers.trig_insert_after_statement
                || triggers.trig_insert_new_table
        });
        pg_sys::relation_close(relation, pg_sys::NoLock as i32);
        fires
    }
}

/// Of a finite number of seconds, as PostgreSQL's make_interval() makes it.
fn interval(seconds: f64) -> pg_sys::Interval {
    pg_sys::Interval { time: (seconds * 1e6).round_ties_even() as i64, day: 0, month: 0 }
}
