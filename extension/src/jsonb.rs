//! jsonb as text, the same that PostgreSQL writes. Its own function goes through strings byte by byte: of the instructions
//! of an emit of 1 kB, a fifth.

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
        write_container(out, &raw mut (*plain.cast::<pg_sys::Jsonb>()).root);
        if plain != stored {
            pg_sys::pfree(plain.cast());
        }
    }
}

unsafe fn write_container(out: &mut String, container: *mut pg_sys::JsonbContainer) {
    unsafe {
        let mut iterator = pg_sys::JsonbIteratorInit(container);
        let mut found = std::mem::zeroed::<pg_sys::JsonbValue>();
        let mut is_first = true;
        // A value that is no array or object is kept as an array of one.
        let mut is_scalar = false;
        loop {
            use pg_sys::JsonbIteratorToken::*;
            let token = pg_sys::JsonbIteratorNext(&mut iterator, &mut found, false);
            if !is_first && matches!(token, WJB_KEY | WJB_ELEM | WJB_BEGIN_ARRAY | WJB_BEGIN_OBJECT) {
                out.push_str(", ");
            }
            is_first = matches!(token, WJB_KEY | WJB_BEGIN_ARRAY | WJB_BEGIN_OBJECT);
            match token {
                WJB_DONE => return,
                WJB_KEY => {
                    write_scalar(out, &found);
                    out.push_str(": ");
                }
                WJB_BEGIN_ARRAY if found.val.array.rawScalar => is_scalar = true,
                WJB_END_ARRAY if is_scalar => {}
                WJB_BEGIN_ARRAY => out.push('['),
                WJB_END_ARRAY => out.push(']'),
                WJB_BEGIN_OBJECT => out.push('{'),
                WJB_END_OBJECT => out.push('}'),
                _ => write_scalar(out, &found),
            }
        }
    }
}

unsafe fn write_scalar(out: &mut String, value: &pg_sys::JsonbValue) {
    unsafe {
        match value.type_ {
            pg_sys::jbvType::jbvString => {
                let text = value.val.string;
                let bytes = std::slice::from_raw_parts(text.val.cast::<u8>(), text.len as usize);
                // PostgreSQL's text is UTF-8 here: other databases are refused when the extension is created.
                write_json_string(out, std::str::from_utf8_unchecked(bytes));
            }
            pg_sys::jbvType::jbvNumeric => {
                let number = [Some(pg_sys::Datum::from(value.val.numeric))];
                let Some(text) = pgrx::direct_function_call_as_datum(pg_sys::numeric_out, &number) else {
                    error!("pg_webhook: a number is NULL");
                };
                let text = text.cast_mut_ptr();
                out.push_str(&CStr::from_ptr(text).to_string_lossy());
                pg_sys::pfree(text.cast());
            }
            pg_sys::jbvType::jbvBool => out.push_str(if value.val.boolean { "true" } else { "false" }),
            pg_sys::jbvType::jbvNull => out.push_str("null"),
            other => error!("pg_webhook: a jsonb has a value of type {other}"),
        }
    }
}
