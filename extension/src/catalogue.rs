//! The catalogue of event types as this session knows it: what their data has to look like, and which were seen.

use crate::cached::Cached;
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Seen, Statement};
use crate::{lock, raise};
use jsonschema::Validator;
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde_json::Value;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// What is told of data that does not match: some of it comes from the data.
const LONGEST_PROBLEM: usize = 300;

/// The JSON Schema of a type's data.
struct Schema {
    source: String,
    /// Compiled at the first event. None: it no longer compiles, so nothing matches.
    validator: OnceCell<Option<Validator>>,
    is_strict: bool,
}

type Catalogue = HashMap<Box<str>, Option<Rc<Schema>>>;

thread_local! {
    /// Types that are seen meanwhile are added.
    static CACHE: Cached<RefCell<Catalogue>> = const { Cached::new() };
    /// The transaction that entered types, and which: they are not known before it has committed.
    static ENTERED: RefCell<(u64, Vec<Box<str>>)> = const { RefCell::new((0, Vec::new())) };
    static TYPES: Statement = const { Statement::new(
        c"SELECT t.name, t.schema::pg_catalog.text, t.enforcement FROM webhook.event_type t", &[]) };
    static KNOWN: Statement = const { Statement::new(
        c"SELECT true FROM webhook.event_type t WHERE t.name OPERATOR(pg_catalog.=) $1", &[pg_sys::TEXTOID]) };
    static ENTER: Statement = const { Statement::new(
        c"INSERT INTO webhook.event_type (name, declared) VALUES ($1, false) ON CONFLICT DO NOTHING", &[pg_sys::TEXTOID]) };
}

/// Raises, or warns, if the type has a schema and the data does not match it.
pub fn check(event_type: &str, data: &str) {
    let Some(schema) = catalogue().borrow().get(event_type).cloned().flatten() else { return };
    let Some(problem) = schema.problem(data) else { return };
    let message = format!("data of event {event_type} does not match its schema: {problem}");
    if schema.is_strict {
        let hint = "The schema stands in webhook.event_type; enforcement = 'warn' lets such events pass.";
        raise(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
    }
    ereport!(WARNING, PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message);
}

impl Schema {
    fn problem(&self, data: &str) -> Option<String> {
        let Some(validator) = self.validator.get_or_init(|| compile(&self.source).ok()) else {
            return Some("the schema is not valid".to_owned());
        };
        let data: Value = match serde_json::from_str(data) {
            Ok(data) => data,
            Err(error) => return Some(error.to_string()),
        };
        let error = validator.iter_errors(&data).next()?;
        let place = error.instance_path().to_string();
        let mut problem = if place.is_empty() { error.to_string() } else { format!("{place}: {error}") };
        if let Some((end, _)) = problem.char_indices().nth(LONGEST_PROBLEM) {
            problem.truncate(end);
            problem.push('…');
        }
        Some(problem)
    }
}

fn compile(source: &str) -> Result<Validator, String> {
    let schema: Value = serde_json::from_str(source).map_err(|error| error.to_string())?;
    jsonschema::validator_for(&schema).map_err(|error| error.to_string())
}

#[pg_extern(sql = false)]
fn schema_problem(schema: pgrx::JsonB) -> Option<String> {
    compile(&schema.0.to_string()).err()
}

/// Enters types that are not in the catalogue yet. Nobody waits for it: while another transaction enters the same one
/// this leaves it to that, and if that fails, to the next event.
pub fn note<'a>(event_types: impl Iterator<Item = &'a str>) {
    let known = catalogue();
    let mut last = "";
    for event_type in event_types {
        if event_type != last && !known.borrow().contains_key(event_type) {
            enter(&known, event_type);
        }
        last = event_type;
    }
}

fn enter(catalogue: &RefCell<Catalogue>, event_type: &str) {
    let transaction = unsafe { pg_sys::GetTopFullTransactionId() }.value;
    let mut hasher = DefaultHasher::new();
    event_type.hash(&mut hasher);
    let is_ours = ENTERED.with_borrow_mut(|(at, types)| {
        if *at != transaction {
            (*at, *types) = (transaction, Vec::new());
        }
        types.iter().any(|entered| **entered == *event_type)
    });
    if is_ours || !lock::try_lock_event_type(hasher.finish() as u32) {
        return;
    }
    let name = [event_type.into_datum()];
    let mut is_known = false;
    acting_as(own_role(OWNER), false, || {
        // Whatever the isolation level: a conflict with a row it does not see would fail the transaction.
        KNOWN.with(|statement| statement.run(Seen::Latest, &name, |_| is_known = true));
        if !is_known {
            ENTER.with(|statement| statement.run(Seen::Transaction, &name, |_| ()));
        }
    });
    if is_known {
        catalogue.borrow_mut().insert(event_type.into(), None);
    } else {
        ENTERED.with_borrow_mut(|(_, types)| types.push(event_type.into()));
    }
}

fn catalogue() -> Rc<RefCell<Catalogue>> {
    CACHE.with(|cache| cache.get(|| RefCell::new(load())))
}

fn load() -> Catalogue {
    let mut fresh = Catalogue::new();
    acting_as(own_role(OWNER), false, || {
        TYPES.with(|statement| {
            statement.run(Seen::Latest, &[], |row| {
                let is_strict = row.must::<String>(3) == "strict";
                let schema = row
                    .get::<String>(2)
                    .map(|source| Rc::new(Schema { source, validator: OnceCell::new(), is_strict }));
                fresh.insert(row.must::<String>(1).into(), schema);
            });
        });
    });
    fresh
}
