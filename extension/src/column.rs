//! A column as capture sees it, and how its values become JSON, exactly as to_json has it.
//!
//! Common types are written directly; every other value goes through PostgreSQL's to_json(). Rendering happens as a
//! role without any right, because to_json() calls casts that the owner of a type may have written.

use crate::{jsonb, raw};
use pgrx::pg_sys;
use protocol::envelope::write_json_string;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char};

/// A column, by its name in the attached table and its place in the one that was written (a partition's differ).
pub struct Column {
    pub name: String,
    /// `"name":` as it stands in the JSON
    label: String,
    /// number in the attached table, from 1
    pub number: i16,
    /// place in the written tuple, from 0
    pub place: usize,
    by_value: bool,
    length: i16,
    render: Render,
}

enum Render {
    Bool,
    Int2,
    Int4,
    Int8,
    Text,
    Uuid,
    /// date, timestamp or timestamptz
    Time(pg_sys::Oid),
    Numeric,
    Json,
    Jsonb,
    Any {
        to_json: UnsafeCell<pg_sys::FmgrInfo>,
    },
}

/// A row whose columns have been taken apart.
pub struct Values<'a> {
    pub values: &'a [pg_sys::Datum],
    pub nulls: &'a [bool],
}

impl<'a> Values<'a> {
    pub fn new(values: &'a [pg_sys::Datum], nulls: &'a [bool]) -> Self {
        Self { values, nulls }
    }

    /// # Safety
    /// The slot holds a tuple and does not change while the values are used.
    pub unsafe fn of(slot: *mut pg_sys::TupleTableSlot) -> Self {
        unsafe {
            pg_sys::slot_getallattrs(slot);
            let count = (*slot).tts_nvalid as usize;
            Self {
                values: std::slice::from_raw_parts((*slot).tts_values, count),
                nulls: std::slice::from_raw_parts((*slot).tts_isnull, count),
            }
        }
    }
}

impl Column {
    /// # Safety
    /// Both are the same column: of the attached table, and of the one that was written.
    pub unsafe fn new(
        name: String,
        attribute: &pg_sys::FormData_pg_attribute,
        written: &pg_sys::FormData_pg_attribute,
        memory: pg_sys::MemoryContext,
    ) -> Self {
        let mut label = String::new();
        write_json_string(&mut label, &name);
        label.push(':');
        Self {
            name,
            label,
            number: attribute.attnum,
            place: written.attnum as usize - 1,
            by_value: written.attbyval,
            length: written.attlen,
            render: unsafe { Render::of(attribute, memory) },
        }
    }

    /// Whether a value's text may depend on settings.
    pub fn renders_by_settings(&self) -> bool {
        matches!(self.render, Render::Any { .. })
    }

    /// Appends `"name":value`.
    pub fn write_member(&self, out: &mut String, row: &Values) {
        out.push_str(&self.label);
        self.write(out, row);
    }

    /// Whether two rows differ in this column, byte for byte.
    pub fn differs(&self, old: &Values, new: &Values) -> bool {
        match (old.nulls[self.place], new.nulls[self.place]) {
            (true, true) => false,
            (false, false) => unsafe {
                let (old, new) = (old.values[self.place], new.values[self.place]);
                !raw::guarded(|| raw::datum_image_eq(old, new, self.by_value, self.length.into()))
            },
            _ => true,
        }
    }

    pub fn write(&self, out: &mut String, row: &Values) {
        use std::fmt::Write;
        if row.nulls[self.place] {
            out.push_str("null");
            return;
        }
        let value = row.values[self.place];
        // Writing to a String does not fail.
        let _ = match &self.render {
            Render::Bool => write!(out, "{}", value.value() as u8 != 0),
            Render::Int2 => write!(out, "{}", value.value() as i16),
            Render::Int4 => write!(out, "{}", value.value() as i32),
            Render::Int8 => write!(out, "{}", value.value() as i64),
            Render::Text => {
                unsafe { with_text(value, |text| write_json_string(out, text)) };
                Ok(())
            }
            Render::Uuid => {
                out.push('"');
                protocol::event_id::write_uuid(out, unsafe { &*value.cast_mut_ptr::<[u8; 16]>() });
                out.push('"');
                Ok(())
            }
            Render::Time(datatype) => {
                let mut buffer: [c_char; pg_sys::MAXDATELEN as usize + 1] = [0; _];
                let text = unsafe { pg_sys::JsonEncodeDateTime(buffer.as_mut_ptr(), value, *datatype, &0) };
                out.push('"');
                out.push_str(unsafe { str_of(text) });
                out.push('"');
                Ok(())
            }
            Render::Numeric => {
                unsafe { with_output(pg_sys::F_NUMERIC_OUT, value, |text| write_numeric(out, text)) };
                Ok(())
            }
            Render::Json => {
                unsafe { with_text(value, |text| out.push_str(text)) };
                Ok(())
            }
            Render::Jsonb => {
                unsafe { jsonb::write(out, value) };
                Ok(())
            }
            Render::Any { to_json } => {
                unsafe {
                    let json = pg_sys::FunctionCall1Coll(to_json.get(), pg_sys::InvalidOid, value);
                    with_text(json, |text| out.push_str(text));
                    pg_sys::pfree(json.cast_mut_ptr());
                }
                Ok(())
            }
        };
    }
}

impl Render {
    unsafe fn of(attribute: &pg_sys::FormData_pg_attribute, memory: pg_sys::MemoryContext) -> Self {
        match attribute.atttypid {
            pg_sys::BOOLOID => Self::Bool,
            pg_sys::INT2OID => Self::Int2,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::INT8OID => Self::Int8,
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Self::Text,
            pg_sys::UUIDOID => Self::Uuid,
            pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Self::Time(attribute.atttypid),
            pg_sys::NUMERICOID => Self::Numeric,
            pg_sys::JSONOID => Self::Json,
            pg_sys::JSONBOID => Self::Jsonb,
            _ => unsafe {
                let to_json = pg_sys::Oid::from(pg_sys::F_TO_JSON);
                let before = pg_sys::MemoryContextSwitchTo(memory);
                let argument =
                    pg_sys::makeNullConst(attribute.atttypid, attribute.atttypmod, attribute.attcollation);
                let arguments = pg_sys::lappend(std::ptr::null_mut(), argument.cast());
                // to_json(anyelement) learns its argument's type from the call expression.
                let call = pg_sys::makeFuncExpr(
                    to_json,
                    pg_sys::JSONOID,
                    arguments,
                    pg_sys::InvalidOid,
                    pg_sys::InvalidOid,
                    pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
                );
                let mut info = std::mem::zeroed::<pg_sys::FmgrInfo>();
                pg_sys::fmgr_info_cxt(to_json, &mut info, memory);
                info.fn_expr = call.cast();
                pg_sys::MemoryContextSwitchTo(before);
                Self::Any { to_json: UnsafeCell::new(info) }
            },
        }
    }
}

/// NaN and the infinities are no numbers to JSON.
fn write_numeric(out: &mut String, text: &str) {
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        out.push_str(text);
    } else {
        write_json_string(out, text);
    }
}

/// PostgreSQL's text is UTF-8 here: other databases are refused when the extension is created.
unsafe fn str_of<'a>(text: *const c_char) -> &'a str {
    unsafe { std::str::from_utf8_unchecked(CStr::from_ptr(text).to_bytes()) }
}

/// Hands the text of a value to `read`, as its type's output function writes it.
unsafe fn with_output(function: u32, value: pg_sys::Datum, read: impl FnOnce(&str)) {
    unsafe {
        let text = pg_sys::OidOutputFunctionCall(pg_sys::Oid::from(function), value);
        read(str_of(text));
        pg_sys::pfree(text.cast());
    }
}

/// Hands the characters of a text value to `read`, unpacked where they are compressed or stored elsewhere.
unsafe fn with_text<R>(value: pg_sys::Datum, read: impl FnOnce(&str) -> R) -> R {
    unsafe {
        let packed = value.cast_mut_ptr::<pg_sys::varlena>();
        let plain = pg_sys::pg_detoast_datum_packed(packed);
        let bytes = pgrx::varlena::varlena_to_byte_slice(plain);
        let result = read(std::str::from_utf8_unchecked(bytes));
        if plain != packed {
            pg_sys::pfree(plain.cast());
        }
        result
    }
}
