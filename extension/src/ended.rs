//! Taking deliveries that have ended out of webhook.queue, many at a time, without the executor.

use crate::elements::{Elements, text};
use crate::own_table::own_table;
use crate::probe::Probe;
use pgrx::pg_sys;
use pgrx::prelude::*;

/// webhook.end_deliveries(endpoint_ids, event_ids, xids, attempts, outcomes): deletes the queue's rows of these deliveries as
/// they were read, by endpoint, event, xid and attempts, but for those whose outcome is `retry`. Returns how many it deleted: a row that
/// another transaction changes or deletes is left to the caller, and so are all if the table has triggers for it.
#[pg_extern(sql = false)]
fn end_deliveries(fcinfo: pg_sys::FunctionCallInfo) -> i32 {
    let arrays: [Option<Elements>; 5] =
        std::array::from_fn(|number| unsafe { Elements::of_argument(fcinfo, number) });
    let [Some(endpoint_ids), Some(event_ids), Some(xids), Some(attempts), Some(outcomes)] = arrays else {
        return 0;
    };
    let key = [(c"endpoint_id", pg_sys::F_INT4EQ), (c"event_id", pg_sys::F_UUID_EQ)];
    let queue = Probe::open(own_table(c"queue"), pg_sys::RowExclusiveLock, key, [c"xid", c"attempts"]);
    let Some(mut queue) = queue else { return 0 };
    let mut gone = 0;
    if !unsafe { fires_on_delete(queue.relation) } {
        for place in 0..event_ids.len() {
            let is_over = outcomes.get(place).is_some_and(|outcome| unsafe { text(outcome) } != b"retry");
            let (true, Some(endpoint_id), Some(event_id), Some(xid)) =
                (is_over, endpoint_ids.get(place), event_ids.get(place), xids.get(place))
            else {
                continue;
            };
            let Some(found) = queue.find([endpoint_id, event_id]) else { continue };
            let mut row = found.id;
            let as_read = [Some(xid), attempts.get(place)];
            if found.cells.map(|cell| cell.map(|cell| cell.value()))
                == as_read.map(|cell| cell.map(|cell| cell.value()))
                && unsafe { delete(queue.relation, &mut row) }
            {
                gone += 1;
            }
        }
    }
    queue.close();
    gone
}

/// Whether a delete would have to fire triggers.
unsafe fn fires_on_delete(relation: pg_sys::Relation) -> bool {
    let triggers = unsafe { (*relation).trigdesc.as_ref() };
    triggers.is_some_and(|triggers| {
        triggers.trig_delete_before_row
            || triggers.trig_delete_after_row
            || triggers.trig_delete_before_statement
            || triggers.trig_delete_after_statement
            || triggers.trig_delete_old_table
    })
}

/// Whether it could be deleted; waits for a transaction that has it locked.
unsafe fn delete(relation: pg_sys::Relation, row: &mut pg_sys::ItemPointerData) -> bool {
    let mut problem = pg_sys::TM_FailureData::default();
    let result = unsafe {
        pg_sys::heap_delete(
            relation,
            row,
            pg_sys::GetCurrentCommandId(true),
            std::ptr::null_mut(),
            true,
            &mut problem,
            false,
        )
    };
    result == pg_sys::TM_Result::TM_Ok
}
