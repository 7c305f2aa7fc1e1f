//! Rendering a row as JSON, the same whatever the session's settings are.

use crate::column::Values;
use crate::identity::{NOBODY, acting_as, own_role};
use crate::source::Source;
use crate::table::Table;
use pgrx::pg_sys;
use std::ffi::CStr;

unsafe extern "C-unwind" {
    // utils/bytea.h
    static bytea_output: i32;
}

/// bytea.h: BYTEA_OUTPUT_HEX
const BYTEA_OUTPUT_HEX: i32 = 1;

/// Settings changed for the time of rendering.
#[must_use]
pub struct Pinned {
    nest_level: i32,
}

/// Fixes the settings that output functions follow, and the search_path where code of users may run. What that code
/// sets is undone with them.
pub fn pin(table: &Table, sources: &[&Source]) -> Pinned {
    unsafe {
        let nest_level = pg_sys::NewGUCNestLevel();
        let runs_code =
            sources.iter().any(|source| source.expressions.is_some() || source.body_function.is_some());
        if table.renders_by_settings() || runs_code {
            pin_output();
        }
        if table.renders_by_locale() {
            set(c"lc_monetary", c"C");
        }
        if table.renders_by_path() || runs_code {
            pin_names();
        }
        if runs_code {
            pin_language();
        }
        Pinned { nest_level }
    }
}

/// Fixes the same for code of users that gets JSON.
pub fn pin_code() -> Pinned {
    unsafe {
        let nest_level = pg_sys::NewGUCNestLevel();
        pin_output();
        set(c"lc_monetary", c"C");
        pin_names();
        pin_language();
        Pinned { nest_level }
    }
}

unsafe fn pin_output() {
    unsafe {
        let zone = pg_sys::pg_get_timezone_name(pg_sys::session_timezone);
        if zone.is_null() || CStr::from_ptr(zone) != c"UTC" {
            set(c"timezone", c"UTC");
        }
        if pg_sys::DateStyle != pg_sys::USE_ISO_DATES as i32 {
            set(c"datestyle", c"ISO");
        }
        if pg_sys::IntervalStyle != pg_sys::INTSTYLE_POSTGRES as i32 {
            set(c"intervalstyle", c"postgres");
        }
        if bytea_output != BYTEA_OUTPUT_HEX {
            set(c"bytea_output", c"hex");
        }
        if pg_sys::extra_float_digits < 1 {
            set(c"extra_float_digits", c"1");
        }
    }
}

unsafe fn pin_names() {
    unsafe {
        set(c"search_path", c"pg_catalog, pg_temp");
        if pg_sys::quote_all_identifiers {
            set(c"quote_all_identifiers", c"off");
        }
    }
}

/// Fixes what the text of an expression or a function means.
unsafe fn pin_language() {
    unsafe {
        if pg_sys::DateOrder != pg_sys::DATEORDER_MDY as i32 {
            set(c"datestyle", c"ISO, MDY");
        }
        if !pg_sys::standard_conforming_strings {
            set(c"standard_conforming_strings", c"on");
        }
        if pg_sys::Transform_null_equals {
            set(c"transform_null_equals", c"off");
        }
        if !pg_sys::Array_nulls {
            set(c"array_nulls", c"on");
        }
    }
}

/// Puts the settings back. On an error the abort of the transaction does.
pub fn unpin(pinned: Pinned) {
    unsafe { pg_sys::AtEOXact_GUC(false, pinned.nest_level) };
}

/// Runs `work` with no right and no setting of its own left behind: for code of others that a check may call.
pub fn isolated<R>(work: impl FnOnce() -> R) -> R {
    let pinned = Pinned { nest_level: unsafe { pg_sys::NewGUCNestLevel() } };
    unsafe { set(c"search_path", c"pg_catalog, pg_temp") };
    let result = acting_as(own_role(NOBODY), true, work);
    unpin(pinned);
    result
}

/// Writes the row as JSON over `out`: `{"column":value,…}`, without the columns left out.
pub fn write_row(out: &mut String, table: &Table, source: &Source, row: &Values) {
    out.clear();
    out.push('{');
    for (place, index) in source.rendered.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        table.columns[*index].write_member(out, row);
    }
    out.push('}');
}

unsafe fn set(name: &CStr, value: &CStr) {
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}
