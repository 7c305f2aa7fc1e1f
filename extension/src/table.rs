//! A table as capture sees it: which columns there are, where they lie, and what tells rows apart.

use crate::column::{Column, Values};
use pgrx::pg_sys;
use std::ffi::CStr;

/// Types whose values are written as names, qualified where the search_path does not find them.
const REG_TYPES: [pg_sys::Oid; 22] = [
    pg_sys::REGCLASSOID,
    pg_sys::REGCLASSARRAYOID,
    pg_sys::REGCOLLATIONOID,
    pg_sys::REGCOLLATIONARRAYOID,
    pg_sys::REGCONFIGOID,
    pg_sys::REGCONFIGARRAYOID,
    pg_sys::REGDICTIONARYOID,
    pg_sys::REGDICTIONARYARRAYOID,
    pg_sys::REGNAMESPACEOID,
    pg_sys::REGNAMESPACEARRAYOID,
    pg_sys::REGOPEROID,
    pg_sys::REGOPERARRAYOID,
    pg_sys::REGOPERATOROID,
    pg_sys::REGOPERATORARRAYOID,
    pg_sys::REGPROCOID,
    pg_sys::REGPROCARRAYOID,
    pg_sys::REGPROCEDUREOID,
    pg_sys::REGPROCEDUREARRAYOID,
    pg_sys::REGROLEOID,
    pg_sys::REGROLEARRAYOID,
    pg_sys::REGTYPEOID,
    pg_sys::REGTYPEARRAYOID,
];

fn is_user_type(oid: pg_sys::Oid) -> bool {
    oid.to_u32() >= pg_sys::FirstNormalObjectId
}

/// The columns of a table in the order they are rendered, and which of them are its primary key.
pub struct Table {
    /// of the attached table
    pub id: pg_sys::Oid,
    /// `schema.table` with quotes where SQL wants them
    pub name: String,
    /// name without schema, as it is
    pub relname: String,
    /// of the attached table
    desc: pg_sys::TupleDesc,
    pub columns: Vec<Column>,
    /// indexes into `columns`
    pub primary_key: Vec<usize>,
    memory: pg_sys::MemoryContext,
}

impl Drop for Table {
    fn drop(&mut self) {
        unsafe { pg_sys::MemoryContextDelete(self.memory) };
    }
}

impl Table {
    /// Reads the columns of `attached`, as they lie in tuples of `written` (the same table or a partition of it).
    ///
    /// # Safety
    /// Both relations are open.
    pub unsafe fn read(attached: pg_sys::Relation, written: pg_sys::Relation) -> Self {
        unsafe {
            let memory = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CacheMemoryContext,
                c"pg_webhook table".as_ptr(),
                0,
                1024,
                64 * 1024,
            );
            let relname = text_of((*(*attached).rd_rel).relname.data.as_ptr());
            let schema = pg_sys::get_namespace_name((*(*attached).rd_rel).relnamespace);
            // Quoted where it has to be, whatever the session's quote_all_identifiers is.
            let quotes_all = std::ptr::replace(&raw mut pg_sys::quote_all_identifiers, false);
            let name =
                pg_sys::quote_qualified_identifier(schema, (*(*attached).rd_rel).relname.data.as_ptr());
            pg_sys::quote_all_identifiers = quotes_all;
            let places = attributes((*written).rd_att);
            let mut columns = Vec::new();
            for attribute in attributes((*attached).rd_att).iter().filter(|a| !a.attisdropped) {
                let column_name = text_of(attribute.attname.data.as_ptr());
                let Some(place) = places
                    .iter()
                    .find(|p| !p.attisdropped && text_of(p.attname.data.as_ptr()) == column_name)
                else {
                    continue;
                };
                columns.push(Column::new(column_name, attribute, place, memory));
            }
            let primary_key = primary_key(attached)
                .iter()
                .filter_map(|number| columns.iter().position(|column: &Column| column.number == *number))
                .collect();
            Self {
                id: (*attached).rd_id,
                name: text_of(name),
                relname,
                desc: {
                    let before = pg_sys::MemoryContextSwitchTo(memory);
                    let desc = pg_sys::CreateTupleDescCopy((*attached).rd_att);
                    pg_sys::MemoryContextSwitchTo(before);
                    desc
                },
                columns,
                primary_key,
                memory,
            }
        }
    }

    /// Whether some value's text depends on lc_monetary: money, alone or inside a type of a user's.
    pub fn renders_by_locale(&self) -> bool {
        self.has_type(|oid| matches!(oid, pg_sys::MONEYOID | pg_sys::MONEYARRAYOID) || is_user_type(oid))
    }

    /// Whether some value's text depends on the search_path and on quoting: names of objects, or a type of a user's.
    pub fn renders_by_path(&self) -> bool {
        self.has_type(|oid| REG_TYPES.contains(&oid) || is_user_type(oid))
    }

    /// Whether some value's text depends on DateStyle, TimeZone or other settings.
    pub fn renders_by_settings(&self) -> bool {
        self.columns.iter().any(Column::renders_by_settings)
    }

    fn has_type(&self, wanted: impl Fn(pg_sys::Oid) -> bool) -> bool {
        unsafe { attributes(self.desc) }
            .iter()
            .any(|attribute| !attribute.attisdropped && wanted(attribute.atttypid))
    }

    /// The attached table's row type.
    pub fn row_type(&self) -> pg_sys::Oid {
        unsafe { (*self.desc).tdtypeid }
    }

    /// Whether rows of the other, kept as values of its row type, are rows of this one.
    pub fn has_rows_as(&self, other: &Table) -> bool {
        unsafe { pg_sys::equalTupleDescs(self.desc, other.desc) }
    }

    /// Values and NULLs of a row that [`Table::row`] made, for the attached table as it is written.
    pub fn columns_of(&self, row: pg_sys::Datum) -> (Vec<pg_sys::Datum>, Vec<bool>) {
        unsafe { cells_of(row, self.desc) }
    }

    /// The row as a value of the attached table's row type.
    pub fn row(&self, row: &Values) -> pg_sys::Datum {
        unsafe {
            let count = (*self.desc).natts as usize;
            let mut values = vec![pg_sys::Datum::from(0usize); count];
            let mut nulls = vec![true; count];
            for column in &self.columns {
                values[column.number as usize - 1] = row.values[column.place];
                nulls[column.number as usize - 1] = row.nulls[column.place];
            }
            let tuple = pg_sys::heap_form_tuple(self.desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::heap_copy_tuple_as_datum(tuple, self.desc)
        }
    }

    /// The row's primary key as text, its columns joined by commas; None without one.
    pub fn key_of(&self, row: &Values) -> Option<String> {
        (!self.primary_key.is_empty()).then(|| self.text_of(&self.primary_key, row))
    }

    /// The primary key's columns that are not in `updated`, the columns a statement on the written table sets.
    ///
    /// # Safety
    /// `updated` is a trigger's tg_updatedcols.
    pub unsafe fn primary_key_without(&self, updated: *const pg_sys::Bitmapset) -> Vec<usize> {
        let is_updated = |index: &usize| {
            let number = self.columns[*index].place as i32 + 1;
            unsafe { pg_sys::bms_is_member(number - pg_sys::FirstLowInvalidHeapAttributeNumber, updated) }
        };
        self.primary_key.iter().copied().filter(|index| !is_updated(index)).collect()
    }

    /// The values of some columns as text, joined by commas.
    pub fn text_of(&self, columns: &[usize], row: &Values) -> String {
        let mut text = String::new();
        for (index, column) in columns.iter().map(|place| &self.columns[*place]).enumerate() {
            if index > 0 {
                text.push(',');
            }
            let start = text.len();
            column.write(&mut text, row);
            if text[start..].starts_with('"')
                && let Ok(plain) = serde_json::from_str::<String>(&text[start..])
            {
                text.truncate(start);
                text.push_str(&plain);
            }
        }
        text
    }
}

/// Values and NULLs of a row that is a value.
///
/// # Safety
/// The row is whole and of this description.
pub unsafe fn cells_of(row: pg_sys::Datum, desc: pg_sys::TupleDesc) -> (Vec<pg_sys::Datum>, Vec<bool>) {
    unsafe {
        let header = row.cast_mut_ptr::<pg_sys::HeapTupleHeaderData>();
        let mut tuple = pg_sys::HeapTupleData {
            t_len: pgrx::varlena::varsize_any(header.cast()) as u32,
            t_data: header,
            ..Default::default()
        };
        let count = (*desc).natts as usize;
        let mut values = vec![pg_sys::Datum::from(0usize); count];
        let mut nulls = vec![true; count];
        pg_sys::heap_deform_tuple(&mut tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
        (values, nulls)
    }
}

/// Where a column of one of our own tables lies in its tuples; the error of a schema that is not ours.
///
/// # Safety
/// The description is one.
pub unsafe fn place_of(desc: pg_sys::TupleDesc, name: &CStr) -> usize {
    let columns = unsafe { attributes(desc) };
    let place = columns.iter().position(|a| unsafe { CStr::from_ptr(a.attname.data.as_ptr()) } == name);
    place.unwrap_or_else(|| pgrx::error!("pg_webhook: a table lacks column {name:?}"))
}

/// What a row type consists of, dropped columns too.
pub unsafe fn attributes<'a>(desc: pg_sys::TupleDesc) -> &'a [pg_sys::FormData_pg_attribute] {
    unsafe {
        let count = (*desc).natts as usize;
        #[cfg(not(feature = "pg18"))]
        let first = (*desc).attrs.as_ptr();
        #[cfg(feature = "pg18")]
        let first = (*desc).compact_attrs.as_ptr().add(count).cast();
        std::slice::from_raw_parts(first, count)
    }
}

unsafe fn primary_key(relation: pg_sys::Relation) -> Vec<i16> {
    unsafe {
        let index = pg_sys::RelationGetPrimaryKeyIndex(
            relation,
            #[cfg(feature = "pg18")]
            false,
        );
        if index == pg_sys::InvalidOid {
            return Vec::new();
        }
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
        let form = (*index).rd_index;
        let keys = (*form).indkey.values.as_slice((*form).indnkeyatts as usize).to_vec();
        pg_sys::index_close(index, pg_sys::NoLock as i32);
        keys
    }
}

unsafe fn text_of(text: *const std::ffi::c_char) -> String {
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
