//! Body functions: functions of the row that return an event's data, run as whoever configured the source.
//!
//! The configurer lends his rights to code, so it has to be code he has a hold on: his own, a superuser's, or that of
//! a role he is a member of. A superuser is a member of every role and would lend his rights to anybody; for him only
//! a superuser's code counts. The same goes for the types of the row where the function takes the row itself: what it
//! does with a value (to_jsonb, ::text) may call a cast that the type's owner wrote. A function that takes jsonb gets
//! the row as it was rendered, without any right.

use crate::column::Values;
use crate::identity::acting_as;
use crate::statement::{OwnedPlan, Row, Seen, Statement};
use crate::table::Table;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::OnceCell;
use std::ffi::CString;

pub struct BodyFunction {
    name: String,
    configured_by: String,
    resolved: OnceCell<Resolved>,
    plan: OwnedPlan,
}

/// The function a name stands for.
pub struct Resolved {
    /// It takes the row, or whatever it was looked up for, not jsonb.
    takes_row: bool,
    pub call: CString,
}

/// What a function is configured for.
#[derive(Clone, Copy)]
pub enum Purpose {
    Body,
    Transform,
    Callback,
}

impl Purpose {
    fn noun(self) -> &'static str {
        match self {
            Self::Body => "body function",
            Self::Transform => "transform",
            Self::Callback => "callback",
        }
    }

    /// What it takes.
    fn argument(self) -> &'static str {
        match self {
            Self::Body => "the row or jsonb",
            Self::Transform | Self::Callback => "jsonb",
        }
    }

    /// How somebody configures it.
    fn configure(self) -> &'static str {
        match self {
            Self::Body => "Attach the table",
            Self::Transform | Self::Callback => "Set it",
        }
    }
}

/// The role that configured a function, which must still be there.
pub fn configurer(purpose: Purpose, name: &str, configured_by: &str) -> pg_sys::Oid {
    let role = CString::new(configured_by).unwrap_or_default();
    crate::identity::role(&role).unwrap_or_else(|| {
        crate::raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("role \"{configured_by}\", which configured {} {name}, no longer exists", purpose.noun()),
            match purpose {
                Purpose::Body => "Call webhook_attach() again as a role that stays.",
                Purpose::Transform => "Set the endpoint's transform again as a role that stays.",
                Purpose::Callback => {
                    "Set the endpoint's on_delivered and on_failed again as a role that stays."
                }
            },
        )
    })
}

impl BodyFunction {
    pub fn new(name: String, configured_by: String) -> Self {
        Self { name, configured_by, resolved: OnceCell::new(), plan: OwnedPlan::new() }
    }

    /// The data of the event for this row, as JSON text. `rendered` is the row as JSON, made without any right:
    /// turning it into jsonb here would call casts of others with the configurer's rights.
    pub fn call(&self, table: &Table, row: &Values, rendered: &str) -> String {
        let role = configurer(Purpose::Body, &self.name, &self.configured_by);
        acting_as(role, true, || {
            let resolved =
                self.resolved.get_or_init(|| resolve(Purpose::Body, &self.name, table.row_type(), role));
            let (argument, argument_type) = if resolved.takes_row {
                (Some(table.row(row)), table.row_type())
            } else {
                (rendered.into_datum(), pg_sys::TEXTOID)
            };
            let mut data = None;
            self.plan
                .run(&resolved.call, &[argument_type], &[argument], |result| data = result.get::<String>(1));
            data.unwrap_or_else(|| "null".to_owned())
        })
    }
}

thread_local! {
    /// $1 name, $2 row type, $3 configurer. Of the function: whether it takes the row, its qualified name, its owner,
    /// whether he is trusted, whether it is a function that returns one value; the configurer's name; a type in the row
    /// whose owner is not trusted; whether it returns JSON, and whether the configurer may execute it.
    static RESOLVE: Statement = const { Statement::new(
        c"WITH RECURSIVE function AS ( \
            SELECT c.by_row IS NOT NULL AS takes_row, p.proowner AS owner, \
              pg_catalog.format('%I.%I', n.nspname, p.proname) AS name, \
              p.prokind OPERATOR(pg_catalog.=) 'f'::pg_catalog.\"char\" AND NOT p.proretset AS is_plain, \
              p.prorettype OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.json'::pg_catalog.regtype, 'pg_catalog.jsonb']) AS gives_json, \
              pg_catalog.has_function_privilege($3, p.oid, 'EXECUTE') AS may_execute \
            FROM (SELECT pg_catalog.to_regprocedure(pg_catalog.format('%s(%s)', $1, $2::pg_catalog.regtype)) AS by_row, \
              pg_catalog.to_regprocedure(pg_catalog.format('%s(jsonb)', $1)) AS by_json) c \
            JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) COALESCE(c.by_row, c.by_json) \
            JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
          ), trusted AS ( \
            SELECT r.oid FROM pg_catalog.pg_roles r, pg_catalog.pg_roles me \
            WHERE me.oid OPERATOR(pg_catalog.=) $3 AND (r.oid OPERATOR(pg_catalog.=) $3 OR r.rolsuper \
              OR (NOT me.rolsuper AND pg_catalog.pg_has_role($3, r.oid, 'USAGE'))) \
          ), part (oid) AS ( \
            SELECT $2 \
            UNION \
            SELECT inner_type.oid FROM part \
            JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) part.oid \
            CROSS JOIN LATERAL ( \
              SELECT t.typelem UNION ALL SELECT t.typbasetype \
              UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r \
                WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid OR r.rngmultitypid OPERATOR(pg_catalog.=) t.oid \
              UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a \
                WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
            ) inner_type (oid) WHERE inner_type.oid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
          ) \
          SELECT f.takes_row, f.name, pg_catalog.pg_get_userbyid(f.owner)::pg_catalog.text, \
            EXISTS (SELECT FROM trusted r WHERE r.oid OPERATOR(pg_catalog.=) f.owner), f.is_plain, \
            pg_catalog.pg_get_userbyid($3)::pg_catalog.text, \
            (SELECT pg_catalog.format('%s of %s', t.oid::pg_catalog.regtype, pg_catalog.pg_get_userbyid(t.typowner)) \
              FROM part JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) part.oid \
              WHERE NOT EXISTS (SELECT FROM trusted r WHERE r.oid OPERATOR(pg_catalog.=) t.typowner) LIMIT 1), \
            f.gives_json, f.may_execute \
          FROM function f",
        &[pg_sys::TEXTOID, pg_sys::OIDOID, pg_sys::OIDOID]) };
}

/// Finds the function; raises if there is none, or if the configurer's rights may not be lent to it.
pub fn resolve(purpose: Purpose, name: &str, row_type: pg_sys::Oid, configurer: pg_sys::Oid) -> Resolved {
    let mut resolved = None;
    if is_name(name) {
        let args = [name.into_datum(), row_type.into_datum(), configurer.into_datum()];
        RESOLVE.with(|statement| {
            statement.run(Seen::Latest, &args, |found| resolved = Some(accept(purpose, name, found)))
        });
    }
    resolved.unwrap_or_else(|| {
        crate::raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            format!("there is no {} {name} that takes {}", purpose.noun(), purpose.argument()),
            match purpose {
                Purpose::Body => {
                    "Give its name with its schema; it takes the row (the table's type, or jsonb) and returns json or jsonb."
                }
                Purpose::Transform => {
                    "Give its name with its schema; it takes the event's body as jsonb and returns jsonb or json."
                }
                Purpose::Callback => {
                    "Give its name with its schema; it takes the outcome as jsonb, and what it returns is ignored."
                }
            },
        )
    })
}

/// Whether this is a name, perhaps with its schema, and no more: what follows it would be read as SQL.
fn is_name(text: &str) -> bool {
    let (mut parts, mut in_quotes, mut is_empty) = (1, false, true);
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes && !is_empty => (parts, is_empty) = (parts + 1, true),
            _ if in_quotes || c.is_alphanumeric() || matches!(c, '_' | '$') => is_empty = false,
            _ => return false,
        }
    }
    parts <= 2 && !in_quotes && !is_empty
}

/// A row of [`RESOLVE`]; raises if the function won't do.
fn accept(purpose: Purpose, name: &str, found: &Row) -> Resolved {
    let noun = purpose.noun();
    let takes_row: bool = found.must(1);
    let (owner, is_trusted, role) = (found.must::<String>(3), found.must::<bool>(4), found.must::<String>(6));
    let is_plain: bool = found.must(5);
    if matches!(purpose, Purpose::Callback) {
        if !is_plain {
            crate::refuse(
                format!("{noun} {name} is a procedure or an aggregate, or returns a set"),
                "Give a function that returns one value, or void.",
            );
        }
    } else if !is_plain || !found.must::<bool>(8) {
        crate::refuse(
            format!("{noun} {name} returns neither json nor jsonb"),
            "What it returns is sent: one json or jsonb value.",
        );
    }
    if !is_trusted {
        crate::raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("{noun} {name} belongs to {owner} and would run with the rights of {role}"),
            format!("{} as {owner}, or let {role} own the function.", purpose.configure()),
        );
    }
    if takes_row && let Some(other) = found.get::<String>(7) {
        crate::raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("{noun} {name} takes the row: casts of type {other} would run with the rights of {role}"),
            "Let it take jsonb, or attach the table as the owner of its types.",
        );
    }
    if !found.must::<bool>(9) {
        crate::raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("{noun} {name} may not be executed by {role}, with whose rights it would run"),
            format!("GRANT EXECUTE ON FUNCTION {name} TO {role}."),
        );
    }
    let function = found.must::<String>(2);
    let cast = if takes_row { "" } else { "::pg_catalog.jsonb" };
    let call = match purpose {
        Purpose::Callback => format!("SELECT {function}($1)"),
        Purpose::Body | Purpose::Transform => format!("SELECT ({function}($1{cast}))::pg_catalog.text"),
    };
    Resolved { takes_row, call: CString::new(call).unwrap_or_default() }
}

/// Raises what is wrong with a body function the current user wants to configure.
#[pg_extern(sql = false)]
fn check_body_function(relation: pg_sys::Oid, name: &str) {
    let row_type = unsafe { pg_sys::get_rel_type_id(relation) };
    resolve(Purpose::Body, name, row_type, unsafe { pg_sys::GetUserId() });
}
