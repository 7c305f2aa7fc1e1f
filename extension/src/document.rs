//! An event's body as jsonb, for filters and transforms, and the jsonpath of a filter.

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::{PgTryBuilder, direct_function_call, direct_function_call_as_datum, pg_sys};
use std::cell::OnceCell;
use std::ffi::CString;
use std::panic::AssertUnwindSafe;

/// A body, read when somebody asks for it, once.
pub struct Document<'b> {
    body: &'b str,
    read: OnceCell<Result<pg_sys::Datum, String>>,
}

impl<'b> Document<'b> {
    pub fn new(body: &'b str) -> Self {
        Self { body, read: OnceCell::new() }
    }

    /// As jsonb; or why it is none: a column of type json may hold what jsonb does not take, such as \u0000.
    pub fn jsonb(&self) -> Result<pg_sys::Datum, String> {
        self.read.get_or_init(|| pure(|| jsonb(self.body))).clone()
    }

    /// Whether the filter takes it, or why that can't be said.
    pub fn passes(&self, filter: &JsonPath) -> Result<bool, String> {
        let body = self.jsonb()?;
        pure(|| filter.accepts(body))
    }
}

fn jsonb(text: &str) -> pg_sys::Datum {
    let text = CString::new(text).unwrap_or_default();
    let read = unsafe { direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text.as_ptr().into())]) };
    read.unwrap_or_else(|| error!("pg_webhook: a body is NULL"))
}

/// The error of a function of PostgreSQL's own that touches nothing: what it leaves behind is memory, so there is no
/// need of a subtransaction.
fn pure<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let mut work = Some(work);
    PgTryBuilder::new(AssertUnwindSafe(|| {
        let done = work.take().map(|work| work());
        done.ok_or_else(String::new)
    }))
    .catch_others(|error| match &error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
            if !crate::subtransaction::is_interruption(report.sql_error_code()) =>
        {
            Err(report.message().to_owned())
        }
        _ => error.rethrow(),
    })
    .execute()
}

/// A jsonpath that outlives the statement which read it.
pub struct JsonPath(Box<[u64]>);

impl JsonPath {
    /// Whether what the path finds first is there and neither false nor null: so it may be a condition or a path with
    /// filters. What the body lacks, or has of another type, is nothing found.
    fn accepts(&self, body: pg_sys::Datum) -> bool {
        let path = pg_sys::Datum::from(self.0.as_ptr());
        unsafe {
            let args = [Some(body), Some(path), Some(jsonb("{}")), true.into_datum()];
            let Some(found) = direct_function_call_as_datum(pg_sys::jsonb_path_query_first_tz, &args) else {
                return false;
            };
            match direct_function_call::<String>(pg_sys::jsonb_typeof, &[Some(found)]).as_deref() {
                Some("null") | None => false,
                Some("boolean") => direct_function_call(pg_sys::jsonb_bool, &[Some(found)]).unwrap_or(false),
                Some(_) => true,
            }
        }
    }
}

impl FromDatum for JsonPath {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        unsafe {
            let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let bytes = pgrx::varlena::varsize(value);
            // Words: it is read as the aligned structure it is.
            let mut words = vec![0u64; bytes.div_ceil(size_of::<u64>())].into_boxed_slice();
            std::ptr::copy_nonoverlapping(value.cast::<u8>(), words.as_mut_ptr().cast::<u8>(), bytes);
            Some(Self(words))
        }
    }
}

/// What is wrong with a filter, given as PostgreSQL writes a jsonpath; its syntax was checked by its type.
#[pg_extern(sql = false)]
fn filter_problem(filter: &str) -> Option<String> {
    let mut rest = filter;
    while let Some(at) = rest.find(['"', '$']) {
        // Keys and texts are quoted, and so are names of variables, after their dollar sign.
        if rest[at..].starts_with("$\"") {
            return Some("there are no variables in it".to_owned());
        }
        rest = if rest[at..].starts_with('"') { after_quoted(&rest[at + 1..]) } else { &rest[at + 1..] };
    }
    None
}

fn after_quoted(text: &str) -> &str {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    end.map_or("", |end| &text[end + 1..])
}
