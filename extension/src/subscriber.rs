//! Who wants which events: the endpoints as this session knows them.

use crate::cached::Cached;
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Row, Seen, Statement};
use crate::subscribers::Subscribers;
use crate::transform::Transform;
use crate::variant::{Shape, Taste, Writer};
use pgrx::datum::TimestampWithTimeZone;
use protocol::event_type::Pattern;
use protocol::layout::Layout;
use protocol::scheme::{Message, Scheme, SchemeSpec};
use protocol::secret::{KeyEncoding, Secret};
use std::cell::OnceCell;
use std::collections::HashMap;
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
    secrets: Vec<StoredSecret>,
    /// None where it takes what it is subscribed to as it is.
    pub taste: Option<Taste>,
}

struct StoredSecret {
    text: String,
    expires_us: Option<i64>,
    /// Read when it first signs: most endpoints get nothing of a session. None where the text does not fit the scheme.
    secret: OnceCell<Option<Box<Secret>>>,
}

impl StoredSecret {
    fn read(&self, encoding: KeyEncoding) -> Option<&Secret> {
        self.secret.get_or_init(|| Secret::parse(&self.text, encoding).ok().map(Box::new)).as_deref()
    }
}

impl Subscriber {
    pub fn takes_tenant(&self, tenant: Option<&str>) -> bool {
        self.all_tenants || self.tenant.as_deref() == tenant
    }

    pub fn takes_all_tenants(&self) -> bool {
        self.all_tenants
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
        scheme.sign_into(&mut signature, live.filter_map(|s| s.read(scheme.key_encoding())), message);
        (!signature.is_empty()).then_some(signature)
    }
}

thread_local! {
    static CACHE: Cached<Subscribers> = const { Cached::new() };
    static ENDPOINTS: Statement = const { Statement::new(
        c"SELECT e.id, e.generation, e.tenant, e.all_tenants, e.event_types, e.scheme, \
            e.filter, e.envelope::pg_catalog.text, e.transform, e.on_error, e.configured_by, e.ordered FROM webhook.endpoint e", &[]) };
    static SECRETS: Statement = const { Statement::new(
        c"SELECT s.endpoint_id, s.secret, s.expires_at FROM webhook.endpoint_secret s ORDER BY s.created_at DESC, s.secret", &[]) };
    static SCHEMES: Statement = const { Statement::new(
        c"SELECT s.name, s.algorithm, s.key_encoding, s.content, s.digest_encoding, s.signature, s.separator, s.headers FROM webhook.signature_scheme s", &[]) };
}

/// All endpoints.
pub fn all() -> Rc<Subscribers> {
    CACHE.with(|cache| cache.get(|| Subscribers::new(acting_as(own_role(OWNER), false, load))))
}

fn load() -> Vec<Subscriber> {
    let schemes = load_schemes();
    let mut secrets: HashMap<i32, Vec<StoredSecret>> = HashMap::new();
    SECRETS.with(|statement| {
        statement.run(Seen::Latest, &[], |row| {
            let expires_us = row
                .get::<TimestampWithTimeZone>(3)
                .map(|at| i64::from(at) + crate::identifier::POSTGRES_EPOCH_US);
            let secret = StoredSecret { text: row.must(2), expires_us, secret: OnceCell::new() };
            secrets.entry(row.must(1)).or_default().push(secret);
        });
    });
    let mut subscribers = Vec::new();
    let mut shapes = HashMap::new();
    ENDPOINTS.with(|statement| {
        statement.run(Seen::Latest, &[], |row| {
            let endpoint_id: i32 = row.must(1);
            let scheme = schemes.get(&row.must::<String>(6)).cloned().filter(|s| !s.per_attempt());
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
                scheme,
                secrets: secrets.remove(&endpoint_id).unwrap_or_default(),
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
