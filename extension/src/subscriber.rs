//! Who wants which events: the endpoints as this session knows them.
//!
//! Read once and kept until the configuration changes. A change sends a relation-cache invalidation of
//! webhook.endpoint to every session when it commits, and to its own at once, also when it is rolled back: the way
//! PostgreSQL keeps its own catalogs. What is read is the latest committed state, whatever the isolation level, so
//! a session with an old snapshot can't keep what is no longer true.

use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Row, Seen, Statement};
use crate::transform::Transform;
use crate::variant::{Shape, Taste, Writer};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::{pg_guard, pg_sys};
use protocol::event_type::Pattern;
use protocol::layout::Layout;
use protocol::scheme::{Message, Scheme, SchemeSpec};
use protocol::secret::{KeyEncoding, Secret};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::rc::Rc;

/// An endpoint, as far as enqueueing goes.
pub struct Subscriber {
    pub endpoint_id: i32,
    pub generation: i32,
    pub ordered: bool,
    tenant: Option<String>,
    all_tenants: bool,
    patterns: Vec<Pattern>,
    /// None where the worker has to sign: the scheme signs a value of each request, or does not fit.
    scheme: Option<Rc<Scheme>>,
    secrets: Vec<LiveSecret>,
    /// None where it takes what it is subscribed to as it is.
    pub taste: Option<Taste>,
}

struct LiveSecret {
    secret: Secret,
    expires_us: Option<i64>,
}

impl Subscriber {
    /// Whether it is subscribed to such events; a taste may decline some yet.
    pub fn wants(&self, event_type: &str, tenant: Option<&str>) -> bool {
        self.takes_tenant(tenant) && self.pattern_of(event_type).is_some()
    }

    pub fn takes_tenant(&self, tenant: Option<&str>) -> bool {
        self.all_tenants || self.tenant.as_deref() == tenant
    }

    pub fn pattern_of(&self, event_type: &str) -> Option<&Pattern> {
        self.patterns.iter().find(|pattern| pattern.matches(event_type))
    }

    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The signature to store with a delivery; None where the worker signs.
    pub fn sign(&self, message: &Message) -> Option<String> {
        let scheme = self.scheme.as_deref()?;
        let now_us = message.at_ms * 1000;
        let live = self.secrets.iter().filter(|s| s.expires_us.is_none_or(|at| at > now_us));
        let mut signature = String::with_capacity(64);
        scheme.sign_into(&mut signature, live.map(|s| &s.secret), message);
        (!signature.is_empty()).then_some(signature)
    }
}

thread_local! {
    static CACHE: RefCell<Option<Rc<[Subscriber]>>> = const { RefCell::new(None) };
    /// Counts changes of configuration; what was cached under another number is stale.
    static EPOCH: Cell<u64> = const { Cell::new(1) };
    static CACHED_AT: Cell<u64> = const { Cell::new(0) };
    static ENDPOINTS: Statement = const { Statement::new(
        c"SELECT e.id, e.generation, e.tenant, e.all_tenants, e.event_types, e.scheme, \
            e.filter, e.envelope::pg_catalog.text, e.transform, e.on_error, e.configured_by, e.ordered FROM webhook.endpoint e", &[]) };
    static SECRETS: Statement = const { Statement::new(
        c"SELECT s.endpoint_id, s.secret, s.expires_at FROM webhook.endpoint_secret s ORDER BY s.created_at DESC, s.secret", &[]) };
    static SCHEMES: Statement = const { Statement::new(
        c"SELECT s.name, s.algorithm, s.key_encoding, s.content, s.digest_encoding, s.signature, s.separator, s.headers FROM webhook.signature_scheme s", &[]) };
}

/// All endpoints, read again if the configuration changed.
pub fn all() -> Rc<[Subscriber]> {
    let epoch = epoch();
    if CACHED_AT.get() == epoch
        && let Some(known) = CACHE.with_borrow(Clone::clone)
    {
        return known;
    }
    let fresh: Rc<[Subscriber]> = acting_as(own_role(OWNER), false, load).into();
    CACHE.set(Some(fresh.clone()));
    // The number read before loading: a change that came meanwhile leaves this stale.
    CACHED_AT.set(epoch);
    fresh
}

/// Number of the configuration as it is now.
pub fn epoch() -> u64 {
    // PostgreSQL looks for news when it takes a lock it did not have: a prepared statement that is executed again in
    // an open transaction takes none.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    EPOCH.get()
}

/// Registers the session's callbacks for changes: of relations, and of schemas, whose names stand in events' keys.
pub fn register() {
    let schemas = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(at_invalidation), pg_sys::Datum::from(0usize));
        pg_sys::CacheRegisterSyscacheCallback(schemas, Some(at_schema_change), pg_sys::Datum::from(0usize));
    }
}

/// Tells every session, when this transaction commits, to drop what it cached; and this one at once.
#[pg_extern(sql = false)]
fn drop_caches() {
    EPOCH.set(EPOCH.get() + 1);
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(config_relation()) };
}

/// Also drops what is cached when this relation changes: a captured table whose columns are altered.
pub fn watch_relation(relation: pg_sys::Oid) {
    WATCHED.with_borrow_mut(|watched| {
        watched.insert(relation);
    });
}

/// May come at any look-up in a catalog, so it only counts.
#[pg_guard]
unsafe extern "C-unwind" fn at_invalidation(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let config = CONFIG_RELATION.get();
    let concerns_us = relation == pg_sys::InvalidOid
        || relation == config
        || config == pg_sys::InvalidOid
        || WATCHED.with(|watched| watched.try_borrow().map_or(true, |w| w.contains(&relation)));
    if concerns_us {
        EPOCH.set(EPOCH.get() + 1);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_schema_change(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    EPOCH.set(EPOCH.get() + 1);
}

thread_local! {
    static WATCHED: RefCell<HashSet<pg_sys::Oid>> = RefCell::new(HashSet::new());
    static CONFIG_RELATION: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// A table of pg_webhook's own by name.
pub fn own_table(name: &CStr) -> pg_sys::Oid {
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook".as_ptr(), false);
        let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            error!("pg_webhook: table webhook.{} does not exist", name.to_string_lossy());
        }
        table
    }
}

fn config_relation() -> pg_sys::Oid {
    let relation = own_table(c"endpoint");
    CONFIG_RELATION.set(relation);
    relation
}

fn load() -> Vec<Subscriber> {
    config_relation();
    let schemes = load_schemes();
    let mut secrets: HashMap<i32, Vec<(String, Option<i64>)>> = HashMap::new();
    SECRETS.with(|statement| {
        statement.run(Seen::Latest, &[], |row| {
            let expires = row
                .get::<TimestampWithTimeZone>(3)
                .map(|at| i64::from(at) + crate::identifier::POSTGRES_EPOCH_US);
            secrets.entry(row.must(1)).or_default().push((row.must(2), expires));
        });
    });
    let mut subscribers = Vec::new();
    let mut shapes = HashMap::new();
    ENDPOINTS.with(|statement| {
        statement.run(Seen::Latest, &[], |row| {
            let endpoint_id: i32 = row.must(1);
            let scheme = schemes.get(&row.must::<String>(6)).cloned();
            let keys = secrets.remove(&endpoint_id).unwrap_or_default();
            subscribers.push(Subscriber {
                endpoint_id,
                generation: row.must(2),
                ordered: row.must(12),
                tenant: row.get(3),
                all_tenants: row.must(4),
                patterns: row
                    .must::<Vec<String>>(5)
                    .iter()
                    .filter_map(|p| Pattern::try_new(p).ok())
                    .collect(),
                secrets: scheme.as_deref().map(|s| live_secrets(keys, s.key_encoding())).unwrap_or_default(),
                scheme: scheme.filter(|s| !s.per_attempt()),
                taste: taste(row, &mut shapes),
            });
        });
    });
    subscribers
}

/// What makes a shape: envelope, transform, on_error, configured_by.
type ShapeKey = (Option<String>, Option<String>, String, Option<String>);

/// Columns 7 to 11 of an endpoint.
fn taste(row: &Row, shapes: &mut HashMap<ShapeKey, Option<Rc<Shape>>>) -> Option<Taste> {
    let filter = row.get(7);
    let key: ShapeKey = (row.get(8), row.get(9), row.must(10), row.get(11));
    let shape = shapes.entry(key).or_insert_with_key(|(envelope, transform, on_error, configured_by)| {
        let writer = match (transform, envelope) {
            (Some(name), _) => {
                Writer::Transform(Transform::new(name.clone(), configured_by.clone().unwrap_or_default()))
            }
            // It was checked when it was configured.
            (None, Some(envelope)) => Writer::Layout(Layout::try_new(envelope).ok()?),
            (None, None) => return None,
        };
        Some(Rc::new(Shape { writer, skips: on_error == "skip" }))
    });
    let shape = shape.clone();
    (filter.is_some() || shape.is_some()).then_some(Taste { filter, shape })
}

fn live_secrets(keys: Vec<(String, Option<i64>)>, encoding: KeyEncoding) -> Vec<LiveSecret> {
    keys.into_iter()
        .filter_map(|(text, expires_us)| {
            Secret::parse(&text, encoding).ok().map(|secret| LiveSecret { secret, expires_us })
        })
        .collect()
}

fn load_schemes() -> HashMap<String, Rc<Scheme>> {
    let mut schemes = HashMap::new();
    SCHEMES.with(|statement| {
        statement.run(Seen::Latest, &[], |row| {
            let spec = spec_of(row);
            if let Ok(scheme) = Scheme::try_new(&spec) {
                schemes.insert(spec.name, Rc::new(scheme));
            }
        });
    });
    schemes
}

/// A scheme from columns 1 to 8: name, algorithm, key_encoding, content, digest_encoding, signature, separator, headers.
pub fn spec_of(row: &crate::statement::Row) -> SchemeSpec {
    let headers: pgrx::JsonB = row.must(8);
    SchemeSpec {
        name: row.must(1),
        algorithm: row.must(2),
        key_encoding: row.must(3),
        content: row.must(4),
        digest_encoding: row.must(5),
        signature: row.must(6),
        separator: row.must(7),
        headers: headers
            .0
            .as_object()
            .map(|map| {
                map.iter()
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                    .collect()
            })
            .unwrap_or_default(),
    }
}
