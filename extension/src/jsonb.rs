//! jsonb as text, the same that PostgreSQL writes. Its own function goes through strings byte by byte: of the instructions
//! of an emit of 1 kB, a fifth.

use crate::raw;
use pgrx::pg_sys;
use pgrx::prelude::*;
use protocol::envelope::write_json_string;
use std::ffi::CStr;

/// Appends a value's text.
///
/// # Safety
/// `value` is a jsonb.
pub unsafe fn write(out: &mut String, value: pg_sys::Datum) {
    unsafe {
        let stored = value.cast_mut_ptr::<pg_sys::varlena>();
        let plain = pg_sys::pg_detoast_datum(stored);
        out.reserve(pgrx::varlena::varsize(plain));
        let container = &raw mut (*plain.cast::<pg_sys::Jsonb>()).root;
        if let Err(UnknownType(unknown)) = raw::guarded(|| write_container(out, container)) {
            error!("pg_webhook: a jsonb has a value of type {unknown}");
        }
        if plain != stored {
            pg_sys::pfree(plain.cast());
        }
    }
}

/// Of a value in a jsonb: of a later PostgreSQL.
struct UnknownType(pg_sys::jbvType::Type);

/// # Safety
/// [`raw::guarded`] is around it.
unsafe fn write_container(
    out: &mut String,
    container: *mut pg_sys::JsonbContainer,
) -> Result<(), UnknownType> {
    unsafe {
        let mut iterator = raw::JsonbIteratorInit(container);
        let mut found = std::mem::zeroed::<pg_sys::JsonbValue>();
        let mut is_first = true;
        // A value that is no array or object is kept as an array of one.
        let mut is_scalar = false;
        loop {
            use pg_sys::JsonbIteratorToken::*;
            let token = raw::JsonbIteratorNext(&mut iterator, &mut found, false);
            if !is_first && matches!(token, WJB_KEY | WJB_ELEM | WJB_BEGIN_ARRAY | WJB_BEGIN_OBJECT) {
                out.push_str(", ");
            }
            is_first = matches!(token, WJB_KEY | WJB_BEGIN_ARRAY | WJB_BEGIN_OBJECT);
            match token {
                WJB_DONE => return Ok(()),
                WJB_KEY => {
                    write_scalar(out, &found)?;
                    out.push_str(": ");
                }
                WJB_BEGIN_ARRAY if found.val.array.rawScalar => is_scalar = true,
                WJB_END_ARRAY if is_scalar => {}
                WJB_BEGIN_ARRAY => out.push('['),
                WJB_END_ARRAY => out.push(']'),
                WJB_BEGIN_OBJECT => out.push('{'),
                WJB_END_OBJECT => out.push('}'),
                _ => write_scalar(out, &found)?,
            }
        }
    }
}

/// # Safety
/// [`raw::guarded`] is around it.
unsafe fn write_scalar(out: &mut String, value: &pg_sys::JsonbValue) -> Result<(), UnknownType> {
    unsafe {
        match value.type_ {
            pg_sys::jbvType::jbvString => {
                let text = value.val.string;
                let bytes = std::slice::from_raw_parts(text.val.cast::<u8>(), text.len as usize);
                // PostgreSQL's text is UTF-8 here: other databases are refused when the extension is created.
                write_json_string(out, std::str::from_utf8_unchecked(bytes));
            }
            pg_sys::jbvType::jbvNumeric => {
                let number = pg_sys::Datum::from(value.val.numeric);
                let text = raw::DirectFunctionCall1Coll(Some(raw::numeric_out), pg_sys::InvalidOid, number);
                let text = text.cast_mut_ptr();
                out.push_str(std::str::from_utf8_unchecked(CStr::from_ptr(text).to_bytes()));
                raw::pfree(text.cast());
            }
            pg_sys::jbvType::jbvBool => out.push_str(if value.val.boolean { "true" } else { "false" }),
            pg_sys::jbvType::jbvNull => out.push_str("null"),
            unknown => return Err(UnknownType(unknown)),
        }
        Ok(())
    }
}
