//! Looking rows up by their key without the executor: opened once, asked many times. Rows are seen as the statement that
//! calls sees them.

use crate::table::place_of;
use pgrx::pg_sys;
use std::ffi::CStr;

/// A column of the key, and the function that tells whether two of its values are equal.
pub type KeyColumn = (&'static CStr, u32);

/// An open table, its index that begins with the N columns of the key, and the M columns that are read.
pub struct Probe<const N: usize, const M: usize> {
    pub relation: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    keys: [pg_sys::ScanKeyData; N],
    /// of the columns in a row
    places: [usize; M],
}

impl<const N: usize, const M: usize> Probe<N, M> {
    /// Opens a table by its id, with a lock that it keeps until the end of the transaction; None if it was dropped.
    pub fn open(table: pg_sys::Oid, lock: u32, key: [KeyColumn; N], columns: [&CStr; M]) -> Option<Self> {
        unsafe {
            let relation = pg_sys::try_relation_open(table, lock as i32);
            if relation.is_null() {
                return None;
            }
            let index = open_index(relation, lock, &key.map(|(name, _)| place_of((*relation).rd_att, name)));
            let scan = pg_sys::index_beginscan(
                relation,
                index,
                pg_sys::GetActiveSnapshot(),
                #[cfg(feature = "pg18")]
                std::ptr::null_mut(),
                N as i32,
                0,
            );
            let mut keys = [pg_sys::ScanKeyData::default(); N];
            for (number, (column, (_, equal))) in keys.iter_mut().zip(key).enumerate() {
                pg_sys::ScanKeyInit(
                    column,
                    number as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    equal.into(),
                    pg_sys::Datum::from(0usize),
                );
            }
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            let places = columns.map(|name| place_of((*relation).rd_att, name));
            Some(Self { relation, index, scan, slot, keys, places })
        }
    }

    /// The row with this key, until the next call; None: there is none.
    pub fn find(&mut self, key: [pg_sys::Datum; N]) -> Option<Found<M>> {
        unsafe {
            for (column, value) in self.keys.iter_mut().zip(key) {
                column.sk_argument = value;
            }
            pg_sys::index_rescan(self.scan, self.keys.as_mut_ptr(), N as i32, std::ptr::null_mut(), 0);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            if !pg_sys::index_getnext_slot(self.scan, forward, self.slot) {
                return None;
            }
            let last = self.places.iter().max().map_or(0, |place| place + 1);
            pg_sys::slot_getsomeattrs_int(self.slot, last as i32);
            let cells = self.places.map(|place| {
                let is_null = *(*self.slot).tts_isnull.add(place);
                (!is_null).then(|| *(*self.slot).tts_values.add(place))
            });
            Some(Found { id: (*self.slot).tts_tid, cells })
        }
    }

    /// Closes the table; its lock stays.
    pub fn close(self) {
        unsafe {
            pg_sys::index_endscan(self.scan);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::relation_close(self.index, pg_sys::NoLock as i32);
            pg_sys::relation_close(self.relation, pg_sys::NoLock as i32);
        }
    }
}

/// A row that was found. What its cells point to lasts until the next one is looked for.
pub struct Found<const M: usize> {
    pub id: pg_sys::ItemPointerData,
    /// None is NULL.
    pub cells: [Option<pg_sys::Datum>; M],
}

/// A B-tree over all rows that begins with the columns at these places.
unsafe fn open_index(relation: pg_sys::Relation, lock: u32, places: &[usize]) -> pg_sys::Relation {
    unsafe {
        let list = pg_sys::RelationGetIndexList(relation);
        let count = list.as_ref().map_or(0, |list| list.length as usize);
        for number in 0..count {
            let index = pg_sys::index_open((*(*list).elements.add(number)).oid_value, lock as i32);
            let form = (*index).rd_index;
            let columns =
                std::slice::from_raw_parts((*form).indkey.values.as_ptr(), (*form).indnkeyatts as usize);
            let begins = columns.len() >= places.len()
                && columns.iter().zip(places).all(|(column, place)| *column == *place as i16 + 1);
            if begins
                && (*form).indisvalid
                && (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                && pg_sys::RelationGetIndexPredicate(index).is_null()
            {
                return index;
            }
            pg_sys::relation_close(index, pg_sys::NoLock as i32);
        }
        let name = CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr()).to_string_lossy();
        crate::raise(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table webhook.{name} has no index on its key"),
            "Create the one that webhook's default partition of the same parent has.",
        )
    }
}
