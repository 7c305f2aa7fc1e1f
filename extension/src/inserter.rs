//! Inserting rows of our own tables without the executor: many at a time, indexes and all, as COPY does. No trigger,
//! default or generated column of theirs has a say: what those would do is done here as well. They are heap tables: the schema says so.

use crate::raw;
use crate::write_plan::{Columns, PlainIndex, WritePlan};
use pgrx::pg_sys;
use std::rc::Rc;

/// Rows written by one call of the table's access method. Enough to fill a page with small rows several times over.
const ROWS_AT_A_TIME: usize = 64;

/// Values in the order of the columns; None for NULL.
type Row<const N: usize> = [Option<pg_sys::Datum>; N];

/// An open table that rows are added to. [`Inserter::finish`] writes the last ones.
pub struct Inserter<const N: usize> {
    relation: pg_sys::Relation,
    plan: Rc<WritePlan>,
    rows: Vec<Row<N>>,
    /// For rows that are written together: as many as there were at a time.
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    /// Where the rows were written.
    tids: Vec<pg_sys::ItemPointerData>,
}

impl<const N: usize> Inserter<N> {
    /// Opens a table by its id and locks it for writing until the end of the transaction; None if it was dropped.
    pub fn open(table: pg_sys::Oid, columns: &Columns<N>) -> Option<Self> {
        unsafe {
            let relation = pg_sys::try_relation_open(table, pg_sys::RowExclusiveLock as i32);
            if relation.is_null() {
                return None;
            }
            let plan = WritePlan::of(relation, columns);
            Some(Self { relation, plan, rows: Vec::new(), slots: Vec::new(), tids: Vec::new() })
        }
    }

    /// Adds a row. Its values are copied when rows are written, so they have to last until [`Inserter::flush`].
    pub fn add(&mut self, row: Row<N>) {
        self.rows.push(row);
        if self.rows.len() == ROWS_AT_A_TIME {
            self.flush();
        }
    }

    /// Writes the rows added so far, with their index entries.
    pub fn flush(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        unsafe {
            let plan = self.plan.clone();
            match &plan.indexes {
                Some(indexes) => {
                    if self.rows.len() == 1 {
                        self.write_one();
                    } else {
                        self.write_all();
                    }
                    raw::guarded(|| indexes.iter().for_each(|index| self.enter(index)));
                }
                None => {
                    self.write_all();
                    self.enter_by_executor();
                }
            }
        }
        self.rows.clear();
        self.tids.clear();
    }

    /// A single row needs no slot.
    unsafe fn write_one(&mut self) {
        unsafe {
            let desc = (*self.relation).rd_att;
            let count = (*desc).natts as usize;
            let (mut cells, mut nulls) = (vec![pg_sys::Datum::null(); count], vec![true; count]);
            self.lay_out(&self.rows[0], &mut cells, &mut nulls);
            let tid = raw::guarded(|| {
                let tuple = raw::heap_form_tuple(desc, cells.as_mut_ptr(), nulls.as_mut_ptr());
                let command = raw::GetCurrentCommandId(true);
                raw::heap_insert(self.relation, tuple, command, 0, std::ptr::null_mut());
                let tid = (*tuple).t_self;
                raw::heap_freetuple(tuple);
                tid
            });
            self.tids.push(tid);
        }
    }

    unsafe fn write_all(&mut self) {
        unsafe {
            let count = (*(*self.relation).rd_att).natts as usize;
            while self.slots.len() < self.rows.len() {
                self.slots.push(pg_sys::MakeSingleTupleTableSlot(
                    (*self.relation).rd_att,
                    pg_sys::table_slot_callbacks(self.relation),
                ));
            }
            for (row, slot) in self.rows.iter().zip(&self.slots) {
                pg_sys::ExecClearTuple(*slot);
                let cells = std::slice::from_raw_parts_mut((**slot).tts_values, count);
                let nulls = std::slice::from_raw_parts_mut((**slot).tts_isnull, count);
                nulls.fill(true);
                self.lay_out(row, cells, nulls);
                pg_sys::ExecStoreVirtualTuple(*slot);
            }
            pg_sys::heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.rows.len() as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            self.tids.extend(self.slots[..self.rows.len()].iter().map(|slot| (**slot).tts_tid));
        }
    }

    /// Puts a row's values where they lie in the tuple, which is all NULL.
    fn lay_out(&self, row: &Row<N>, cells: &mut [pg_sys::Datum], nulls: &mut [bool]) {
        for (place, value) in self.plan.places.iter().zip(row) {
            if let Some(value) = value {
                cells[*place] = *value;
                nulls[*place] = false;
            }
        }
    }

    /// Enters the rows just written into an index, if it takes any. It is locked until the end of the transaction, as the table is.
    ///
    /// # Safety
    /// [`raw::guarded`] is around it.
    unsafe fn enter(&self, index: &PlainIndex) {
        let mut entered = self.rows.iter().zip(&self.tids).filter(|(row, _)| index.takes(*row)).peekable();
        if entered.peek().is_none() {
            return;
        }
        let unique = if index.unique {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
        } else {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
        };
        unsafe {
            let relation = raw::index_open(index.id, pg_sys::RowExclusiveLock as i32);
            for (row, tid) in entered {
                let mut values = [pg_sys::Datum::null(); pg_sys::INDEX_MAX_KEYS as usize];
                let mut nulls = [true; pg_sys::INDEX_MAX_KEYS as usize];
                for (place, column) in index.columns.iter().enumerate() {
                    if let Some(value) = column.and_then(|column| row[column]) {
                        (values[place], nulls[place]) = (value, false);
                    }
                }
                raw::index_insert(
                    relation,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    &raw const *tid as *mut _,
                    self.relation,
                    unique,
                    false,
                    // A B-tree does not look at it.
                    std::ptr::null_mut(),
                );
            }
            raw::index_close(relation, pg_sys::NoLock as i32);
        }
    }

    /// The same for a table with an index that is no plain one.
    unsafe fn enter_by_executor(&self) {
        unsafe {
            let state = pg_sys::CreateExecutorState();
            let mut info =
                pg_sys::ResultRelInfo { type_: pg_sys::NodeTag::T_ResultRelInfo, ..Default::default() };
            info.ri_RelationDesc = self.relation;
            let before = pg_sys::MemoryContextSwitchTo((*state).es_query_cxt);
            pg_sys::ExecOpenIndices(&mut info, false);
            pg_sys::MemoryContextSwitchTo(before);
            for slot in &self.slots[..self.rows.len()] {
                pg_sys::ExecInsertIndexTuples(
                    &mut info,
                    *slot,
                    state,
                    false,
                    false,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
                    false,
                );
                if let Some(context) = (*state).es_per_tuple_exprcontext.as_ref() {
                    pg_sys::MemoryContextReset(context.ecxt_per_tuple_memory);
                }
            }
            pg_sys::ExecCloseIndices(&mut info);
            pg_sys::FreeExecutorState(state);
        }
    }

    /// Writes what is left and closes the table; its lock stays until the end of the transaction.
    pub fn finish(mut self) {
        self.flush();
        unsafe {
            for slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
            pg_sys::relation_close(self.relation, pg_sys::NoLock as i32);
        }
    }
}
