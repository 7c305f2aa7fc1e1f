//! What is wrong with a value, for the triggers that validate rows: NULL if nothing is. The rules are protocol's.

use crate::source::Expressions;
use crate::{identifier, rendering};
use pgrx::pg_sys;
use pgrx::prelude::*;
use protocol::event_type::{EventType, Pattern};
use protocol::scheme::{Scheme, SchemeSpec};
use protocol::secret::{KeyEncoding, Secret};
use std::ffi::{CStr, CString};

#[pg_extern(sql = false)]
fn url_problem(url: &str, allow_http: bool) -> Option<String> {
    protocol::url::check(url, allow_http).err().map(|invalid| invalid.to_string())
}

#[pg_extern(sql = false)]
fn pattern_problem(pattern: &str) -> Option<String> {
    Pattern::try_new(pattern).err().map(|invalid| invalid.to_string())
}

/// Whether an event of this type matches one of the patterns; one that is not valid matches nothing.
#[pg_extern(sql = false)]
fn matches_type(event_type: &str, patterns: pgrx::Array<&str>) -> bool {
    patterns
        .iter()
        .flatten()
        .any(|pattern| Pattern::try_new(pattern).is_ok_and(|pattern| pattern.matches(event_type)))
}

#[pg_extern(sql = false)]
fn event_type_problem(event_type: &str) -> Option<String> {
    match EventType::try_new(event_type) {
        Err(invalid) => Some(invalid.to_string()),
        Ok(valid) if valid.is_reserved() => {
            Some(format!("\"{event_type}\" is reserved: webhook.* are pg_webhook's own notices"))
        }
        Ok(_) => None,
    }
}

#[pg_extern(sql = false)]
fn secret_problem(secret: &str, key_encoding: &str) -> Option<String> {
    match key_encoding.parse::<KeyEncoding>() {
        Ok(encoding) => Secret::parse(secret, encoding).err().map(|invalid| invalid.to_string()),
        Err(invalid) => Some(invalid.to_string()),
    }
}

/// Names and values of custom headers.
#[pg_extern(sql = false)]
fn headers_problem(headers: pgrx::JsonB) -> Option<String> {
    let Some(headers) = headers.0.as_object() else { return Some("it is an object".into()) };
    headers.iter().find_map(|(name, value)| {
        if let Err(invalid) = protocol::header::check_name(name) {
            return Some(invalid.to_string());
        }
        match value.as_str() {
            None => Some(format!("the value of {name} is a string")),
            Some(text) if text.len() > 4096 => Some(format!("the value of {name} has at most 4096 bytes")),
            Some(text) if !text.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte)) => {
                Some(format!("the value of {name} is visible ASCII"))
            }
            Some(_) => None,
        }
    })
}

/// A fresh secret of 32 random bytes.
#[pg_extern(sql = false)]
fn random_secret(key_encoding: &str) -> Option<String> {
    let mut random = [0u8; 32];
    identifier::fill_random(&mut random);
    key_encoding.parse().ok().map(|encoding| protocol::secret::generate(encoding, random))
}

#[pg_extern(sql = false)]
fn public_key(secret: &str) -> Option<String> {
    Secret::parse(secret, KeyEncoding::Whsk).ok().and_then(|secret| secret.public_key())
}

/// Reads a source's condition, tenant or key as capture will, without running it; raises what is wrong with it.
#[pg_extern(sql = false)]
fn check_expression(relation: pg_sys::Oid, name: &str, expression: &str) {
    let text = CString::new(expression).unwrap_or_default();
    if !unsafe { is_expression(&text) } {
        crate::refuse("it is not one expression", "Give one SQL expression, without FROM, WHERE or a list.");
    }
    let given = |wanted: &str| (name == wanted).then_some(expression);
    let sql = Expressions::sql(given("condition"), given("tenant"), given("key"));
    // Reading alone may run code of others: a literal becomes a value of the column's type, checks and all.
    rendering::isolated(|| {
        Spi::connect(|_| unsafe {
            let row_type = pg_sys::get_rel_type_id(relation);
            let plan = pg_sys::SPI_prepare(sql.as_ptr(), 2, [row_type, row_type].as_mut_ptr());
            if plan.is_null() {
                error!("it can't be planned");
            }
        });
    });
}

/// Whether a text is an SQL expression by itself, so that parentheses around it keep it together.
unsafe fn is_expression(text: &CString) -> bool {
    unsafe {
        // What PL/pgSQL takes for an expression: the inside of a SELECT.
        let parsed = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let raw = pg_sys::list_nth(parsed, 0).cast::<pg_sys::RawStmt>();
        let select = &*(*raw).stmt.cast::<pg_sys::SelectStmt>();
        pg_sys::list_length(select.targetList) == 1
            && [
                select.distinctClause,
                select.fromClause,
                select.groupClause,
                select.windowClause,
                select.sortClause,
                select.lockingClause,
            ]
            .iter()
            .all(|clause| clause.is_null())
            && [select.whereClause, select.havingClause, select.limitOffset, select.limitCount]
                .iter()
                .all(|clause| clause.is_null())
    }
}

/// What is wrong with a row of webhook.signature_scheme.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the columns of the table")]
fn scheme_problem(
    name: &str,
    algorithm: &str,
    key_encoding: &str,
    content: &str,
    digest_encoding: &str,
    signature: &str,
    separator: &str,
    headers: pgrx::JsonB,
) -> Option<String> {
    let Some(headers) = headers.0.as_object() else {
        return Some("headers: it is an object of strings".into());
    };
    if let Some((name, _)) = headers.iter().find(|(_, value)| !value.is_string()) {
        return Some(format!("headers: the value of {name} is a string"));
    }
    let spec = SchemeSpec {
        name: name.to_owned(),
        algorithm: algorithm.to_owned(),
        key_encoding: key_encoding.to_owned(),
        content: content.to_owned(),
        digest_encoding: digest_encoding.to_owned(),
        signature: signature.to_owned(),
        separator: separator.to_owned(),
        headers: headers
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
    };
    Scheme::try_new(&spec).err().map(|invalid| invalid.to_string())
}

/// Whether the statement that fired this trigger is COPY into a table of ours: a restore, under which triggers have no
/// effect. COPY of something else may call our functions on its way, and they work then as always.
#[pg_extern(sql = false)]
fn in_copy() -> bool {
    unsafe {
        let Some(portal) = pg_sys::ActivePortal.as_ref() else { return false };
        if portal.commandTag != pg_sys::CommandTag::CMDTAG_COPY {
            return false;
        }
        let statement = pg_sys::list_nth(portal.stmts, 0).cast::<pg_sys::PlannedStmt>();
        let copy = (*statement).utilityStmt.cast::<pg_sys::CopyStmt>();
        // pg_dump gives the schema.
        (*copy).is_from && !(*copy).relation.is_null() && {
            let schema = (*(*copy).relation).schemaname;
            !schema.is_null() && CStr::from_ptr(schema) == c"webhook"
        }
    }
}
