//! Inserting rows of our own tables without the executor: many at a time, indexes and all, as COPY does. No trigger,
//! default or generated column of theirs has a say: what those would do is done here as well. They are heap tables: the schema says so.

use crate::table::attributes;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Rows written by one call of the table's access method. Enough to fill a page with small rows several times over.
const ROWS_AT_A_TIME: usize = 64;

/// Columns of a table in the order their values are given, by name: places in the tuple differ after upgrades.
pub type Columns<const N: usize> = [&'static CStr; N];

/// An index on the rows in which a column is not NULL. To have PostgreSQL prepare that condition costs more than the rest of
/// a row, and most rows are not in such an index.
struct PartialIndex {
    info: *mut pg_sys::IndexInfo,
    /// of the column in the tuple
    place: usize,
}

impl PartialIndex {
    /// None where the index is another, or is not to be written.
    unsafe fn of(info: *mut pg_sys::IndexInfo) -> Option<Self> {
        unsafe {
            let condition = (*info).ii_Predicate;
            if condition.is_null() || (*condition).length != 1 || !(*info).ii_ReadyForInserts {
                return None;
            }
            let test = (*(*condition).elements).ptr_value.cast::<pg_sys::NullTest>();
            if (*test).xpr.type_ != pg_sys::NodeTag::T_NullTest
                || (*test).nulltesttype != pg_sys::NullTestType::IS_NOT_NULL
            {
                return None;
            }
            let column = (*test).arg.cast::<pg_sys::Var>();
            let place = ((*column).xpr.type_ == pg_sys::NodeTag::T_Var)
                .then(|| usize::try_from((*column).varattno - 1).ok())??;
            Some(Self { info, place })
        }
    }
}

/// An open table that rows are added to. [`Inserter::finish`] writes the last ones.
pub struct Inserter<const N: usize> {
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    info: *mut pg_sys::ResultRelInfo,
    places: [usize; N],
    partial: Vec<PartialIndex>,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
}

impl<const N: usize> Inserter<N> {
    /// Opens a table by its id and locks it for writing until the end of the transaction; None if it was dropped.
    pub fn open(table: pg_sys::Oid, columns: &Columns<N>) -> Option<Self> {
        unsafe {
            let relation = pg_sys::try_relation_open(table, pg_sys::RowExclusiveLock as i32);
            if relation.is_null() {
                return None;
            }
            let state = pg_sys::CreateExecutorState();
            let before = pg_sys::MemoryContextSwitchTo((*state).es_query_cxt);
            let info: *mut pg_sys::ResultRelInfo = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            (*info).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(info, relation, 1, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(info, false);
            pg_sys::MemoryContextSwitchTo(before);
            let attributes = attributes((*relation).rd_att);
            let places = columns.map(|name| {
                let place = attributes.iter().position(|a| CStr::from_ptr(a.attname.data.as_ptr()) == name);
                place.unwrap_or_else(|| pgrx::error!("pg_webhook: a table lacks column {name:?}"))
            });
            let indexes = (0..(*info).ri_NumIndices as usize).map(|i| *(*info).ri_IndexRelationInfo.add(i));
            let partial = indexes.filter_map(|index| PartialIndex::of(index)).collect();
            Some(Self { relation, state, info, places, partial, slots: Vec::new(), filled: 0 })
        }
    }

    /// Adds a row: values in the order of the columns, None for NULL. They are copied when rows are written, so they
    /// have to last until [`Inserter::flush`].
    pub fn add(&mut self, values: [Option<pg_sys::Datum>; N]) {
        unsafe {
            if self.filled == self.slots.len() {
                let before = pg_sys::MemoryContextSwitchTo((*self.state).es_query_cxt);
                self.slots.push(pg_sys::MakeSingleTupleTableSlot(
                    (*self.relation).rd_att,
                    pg_sys::table_slot_callbacks(self.relation),
                ));
                pg_sys::MemoryContextSwitchTo(before);
            }
            let slot = self.slots[self.filled];
            pg_sys::ExecClearTuple(slot);
            let count = (*(*self.relation).rd_att).natts as usize;
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, count);
            let cells = std::slice::from_raw_parts_mut((*slot).tts_values, count);
            nulls.fill(true);
            for (place, value) in self.places.iter().zip(values) {
                if let Some(value) = value {
                    cells[*place] = value;
                    nulls[*place] = false;
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
            self.filled += 1;
            if self.filled == ROWS_AT_A_TIME {
                self.flush();
            }
        }
    }

    /// Writes the rows added so far, with their index entries.
    pub fn flush(&mut self) {
        if self.filled == 0 {
            return;
        }
        unsafe {
            for index in &self.partial {
                let has_value = |slot: &*mut pg_sys::TupleTableSlot| !*(**slot).tts_isnull.add(index.place);
                // PostgreSQL passes over an index that is not ready.
                (*index.info).ii_ReadyForInserts = self.slots[..self.filled].iter().any(has_value);
            }
            pg_sys::heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.filled as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            for slot in &self.slots[..self.filled] {
                pg_sys::ExecInsertIndexTuples(
                    self.info,
                    *slot,
                    self.state,
                    false,
                    false,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
                    false,
                );
            }
            if let Some(context) = (*self.state).es_per_tuple_exprcontext.as_ref() {
                pg_sys::MemoryContextReset(context.ecxt_per_tuple_memory);
            }
        }
        self.filled = 0;
    }

    /// Writes what is left and closes the table; its lock stays until the end of the transaction.
    pub fn finish(mut self) {
        self.flush();
        unsafe {
            for slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
            pg_sys::ExecCloseIndices(self.info);
            pg_sys::FreeExecutorState(self.state);
            pg_sys::relation_close(self.relation, pg_sys::NoLock as i32);
        }
    }
}
