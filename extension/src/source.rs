//! What is captured of a table: the rows of webhook.source, compiled once per session and table.

use crate::body_function::BodyFunction;
use crate::cached::{self, Cached};
use crate::column::Values;
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{OwnedPlan, Seen, Statement};
use crate::table::Table;
use pgrx::pg_sys;
use pgrx::prelude::*;
use protocol::event_type::EventType;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::rc::Rc;

/// What happened to a row, or to all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    fn default_event_type(self, relname: &str) -> String {
        let verb = match self {
            Self::Insert => "created",
            Self::Update => "updated",
            Self::Delete => "deleted",
            Self::Truncate => "truncated",
        };
        format!("{relname}.{verb}")
    }
}

/// One way a table's changes become events.
pub struct Source {
    pub name: String,
    event_types: [Option<Rc<str>>; 4],
    /// Indexes of the table's columns that are rendered.
    pub rendered: Vec<usize>,
    /// Indexes of the columns one of which has to change; None: any rendered one.
    pub watched: Option<Vec<usize>>,
    pub expressions: Option<Expressions>,
    pub body_function: Option<BodyFunction>,
    pub has_key: bool,
    pub warns: bool,
    /// One event per row and transaction, made at its end.
    pub per_transaction: bool,
    problem: Option<String>,
}

impl Source {
    /// Raises if names of the source no longer fit the table. ALTER TABLE refuses that; this is for what gets past it:
    /// a column to be left out must not go out under another name.
    pub fn check(&self) {
        if let Some(problem) = &self.problem {
            crate::raise(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                problem.as_str(),
                "Call webhook_attach() again with names that fit.",
            );
        }
    }

    /// The type of event an operation makes; None if it makes none.
    pub fn event_type(&self, operation: Operation) -> Option<&Rc<str>> {
        self.event_types[operation as usize].as_ref()
    }
}

/// A table as it is captured.
pub struct Capture {
    pub table: Table,
    pub sources: Vec<Source>,
}

thread_local! {
    static CACHE: Cached<RefCell<HashMap<pg_sys::Oid, Option<Rc<Capture>>>>> = const { Cached::new() };
    static SOURCES: Statement = const { Statement::new(
        c"SELECT s.operations, s.event_names::pg_catalog.text, s.watch, s.omit, s.condition, s.tenant, s.key, s.body_function, \
            s.on_error, s.configured_by, s.relation::pg_catalog.oid, s.name, s.per_transaction \
          FROM webhook.source s WHERE s.relation OPERATOR(pg_catalog.=) $1 \
            OR s.relation OPERATOR(pg_catalog.=) ANY (SELECT a.relid FROM pg_catalog.pg_partition_ancestors($1) a) \
          ORDER BY s.name",
        &[pg_sys::OIDOID]) };
}

/// How a written table is captured; None if it is not.
pub fn of(written: pg_sys::Relation) -> Option<Rc<Capture>> {
    let relation = unsafe { (*written).rd_id };
    let captures = CACHE.with(|cache| cache.get(Default::default));
    if let Some(known) = captures.borrow().get(&relation) {
        return known.clone();
    }
    cached::watch_relation(relation);
    let fresh = load(written).map(Rc::new);
    captures.borrow_mut().insert(relation, fresh.clone());
    fresh
}

struct SourceRow {
    operations: Vec<String>,
    event_names: serde_json::Value,
    watch: Option<Vec<String>>,
    omit: Vec<String>,
    condition: Option<String>,
    tenant: Option<String>,
    key: Option<String>,
    body_function: Option<String>,
    warns: bool,
    configured_by: String,
    name: String,
    per_transaction: bool,
}

fn load(written: pg_sys::Relation) -> Option<Capture> {
    let written_id = unsafe { (*written).rd_id };
    let mut rows = Vec::new();
    let mut attached = written_id;
    acting_as(own_role(OWNER), false, || {
        SOURCES.with(|statement| {
            statement.run(Seen::Latest, &[written_id.into_datum()], |row| {
                attached = row.must(11);
                rows.push(SourceRow {
                    operations: row.must(1),
                    event_names: row
                        .get::<String>(2)
                        .and_then(|t| serde_json::from_str(&t).ok())
                        .unwrap_or_default(),
                    watch: row.get(3),
                    omit: row.get(4).unwrap_or_default(),
                    condition: row.get(5),
                    tenant: row.get(6),
                    key: row.get(7),
                    body_function: row.get(8),
                    warns: row.must::<String>(9) == "warn",
                    configured_by: row.must(10),
                    name: row.must(12),
                    per_transaction: row.must(13),
                });
            });
        });
    });
    if rows.is_empty() {
        return None;
    }
    cached::watch_relation(attached);
    let table = unsafe {
        let root = pg_sys::relation_open(attached, pg_sys::AccessShareLock as i32);
        let table = Table::read(root, written);
        pg_sys::relation_close(root, pg_sys::NoLock as i32);
        table
    };
    let sources = rows.into_iter().map(|row| compile(&table, row)).collect();
    Some(Capture { table, sources })
}

fn compile(table: &Table, row: SourceRow) -> Source {
    let event_type = |operation: Operation| {
        row.operations.iter().any(|o| o == operation.name()).then(|| {
            let given = row.event_names.get(operation.name()).and_then(|name| name.as_str());
            given.map_or_else(|| operation.default_event_type(&table.relname), str::to_owned).into()
        })
    };
    let event_types: [Option<Rc<str>>; 4] =
        [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate].map(event_type);
    let unfit_type = event_types
        .iter()
        .flatten()
        .find(|name| EventType::try_new(name).map_or(true, |valid| valid.is_reserved()));
    let place_of = |name: &String| table.columns.iter().position(|column| column.name == *name);
    let missing = row.watch.iter().flatten().chain(&row.omit).find(|name| place_of(name).is_none());
    let problem = match (missing, unfit_type) {
        (Some(name), _) => Some(format!("the source names column \"{name}\", which the table has not")),
        (None, Some(name)) => Some(format!("\"{name}\" is no event type")),
        (None, None) => None,
    };
    Source {
        name: row.name,
        per_transaction: row.per_transaction,
        problem,
        event_types,
        rendered: (0..table.columns.len()).filter(|i| !row.omit.contains(&table.columns[*i].name)).collect(),
        watched: row.watch.as_ref().map(|names| names.iter().filter_map(place_of).collect()),
        expressions: Expressions::new(row.condition.as_deref(), row.tenant.as_deref(), row.key.as_deref()),
        has_key: row.key.is_some(),
        body_function: row.body_function.map(|name| BodyFunction::new(name, row.configured_by)),
        warns: row.warns,
    }
}

/// Condition, tenant and key of a source: SQL over `old` and `new`, evaluated as webhook_nobody.
pub struct Expressions {
    sql: CString,
    plan: OwnedPlan,
}

/// What the expressions of a source say of a row.
pub struct Verdict {
    pub applies: bool,
    pub tenant: Option<String>,
    pub key: Option<String>,
}

impl Expressions {
    fn new(condition: Option<&str>, tenant: Option<&str>, key: Option<&str>) -> Option<Self> {
        if condition.is_none() && tenant.is_none() && key.is_none() {
            return None;
        }
        Some(Self { sql: Self::sql(condition, tenant, key), plan: OwnedPlan::new() })
    }

    /// The query: one row, `new` and `old` of the table's row type as in a trigger.
    pub fn sql(condition: Option<&str>, tenant: Option<&str>, key: Option<&str>) -> CString {
        let text = format!(
            "SELECT (\n{}\n) IS TRUE, (\n{}\n)::pg_catalog.text, (\n{}\n)::pg_catalog.text \
             FROM pg_catalog.unnest(ARRAY[$1]) AS new, pg_catalog.unnest(ARRAY[$2]) AS old",
            condition.unwrap_or("true"),
            tenant.unwrap_or("NULL"),
            key.unwrap_or("NULL")
        );
        CString::new(text).unwrap_or_default()
    }

    pub fn evaluate(&self, table: &Table, old: Option<&Values>, new: Option<&Values>) -> Verdict {
        let args = [new.map(|row| table.row(row)), old.map(|row| table.row(row))];
        let mut verdict = Verdict { applies: false, tenant: None, key: None };
        self.plan.run(&self.sql, &[table.row_type(), table.row_type()], &args, |row| {
            verdict = Verdict { applies: row.get(1).unwrap_or(false), tenant: row.get(2), key: row.get(3) };
        });
        verdict
    }
}

thread_local! {
    static TRUNCATE_TRIGGERS: Statement = const { Statement::new(
        c"SELECT g.tgrelid FROM pg_catalog.pg_partition_tree($1) p \
          JOIN pg_catalog.pg_trigger g ON g.tgrelid OPERATOR(pg_catalog.=) p.relid \
          WHERE p.relid OPERATOR(pg_catalog.<>) $1 AND g.tgname OPERATOR(pg_catalog.=) 'webhook_truncate'::pg_catalog.name \
            AND g.tgenabled OPERATOR(pg_catalog.<>) 'D'::pg_catalog.\"char\"",
        &[pg_sys::OIDOID]) };
}

/// Partitions of a table that have a trigger for TRUNCATE.
pub fn truncate_triggers_below(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut below = Vec::new();
    TRUNCATE_TRIGGERS.with(|statement| {
        statement.run(Seen::Latest, &[relation.into_datum()], |row| below.push(row.must(1)));
    });
    below
}
