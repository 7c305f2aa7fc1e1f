//! `webhook_sign()` and `webhook_verify()`: what the worker does with a request, in SQL.

use crate::identifier::POSTGRES_EPOCH_US;
use crate::identity::{OWNER, acting_as, own_role};
use crate::refuse;
use crate::statement::{Seen, Statement};
use crate::subscriber::spec_of;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{JsonB, pg_sys};
use protocol::scheme::{Message, Scheme};
use protocol::secret::{InvalidSecret, Secret, Verifier};

/// Longest id, in bytes: it stands in a header.
const ID_BYTES_MAX: usize = 256;

thread_local! {
    static SCHEME: Statement = const { Statement::new(
        c"SELECT s.name, s.algorithm, s.key_encoding, s.content, s.digest_encoding, s.signature, s.separator, s.headers \
          FROM webhook.signature_scheme s WHERE s.name OPERATOR(pg_catalog.=) $1", &[pg_sys::TEXTOID]) };
}

/// The headers of a request with this id and body, signed at this time.
#[pg_extern(sql = false)]
fn webhook_sign(scheme: &str, secret: &str, id: &str, at: TimestampWithTimeZone, body: &str) -> JsonB {
    let scheme = find(scheme);
    if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        refuse(
            format!("id is not valid: it has 1 to {ID_BYTES_MAX} visible ASCII characters"),
            "Give what the header webhook-id is to say.",
        );
    }
    let event_type = type_in(body);
    let message =
        Message { id, attempt_id: Some(id), at_ms: unix_ms(at), body, event_type: &event_type, tenant: None };
    let signatures = scheme.sign([accept(Secret::parse(secret, scheme.key_encoding()))].iter(), &message);
    let headers = scheme.headers(&message, &signatures);
    JsonB(
        headers
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    )
}

/// Whether the headers prove that a sender who knows one of the secrets (for Ed25519 also their public halves: whpk_) sent this body, within the tolerance.
/// Compares in constant time.
#[pg_extern(sql = false)]
fn webhook_verify(
    headers: JsonB,
    body: &str,
    secrets: Vec<Option<String>>,
    scheme: &str,
    tolerance: Interval,
    at: TimestampWithTimeZone,
) -> bool {
    let scheme = find(scheme);
    let Some(headers) = headers.0.as_object() else {
        refuse("headers are not an object", "Give the request's headers as {\"name\": \"value\"}.");
    };
    let headers: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(name, value)| value.as_str().map(|value| (name.clone(), value.to_owned())))
        .collect();
    let read = |text: &String| accept(Verifier::parse(text, scheme.key_encoding()));
    let verifiers: Vec<Verifier> = secrets.iter().flatten().map(read).collect();
    let tolerance_s = tolerance.as_micros() / 1_000_000;
    if tolerance_s < 0 {
        refuse(
            "tolerance is negative",
            "Give how far the request's time may be from the present, e.g. 5 min.",
        );
    }
    let now_s = unix_ms(at).div_euclid(1000);
    scheme.verify(&headers, body, &verifiers, i64::try_from(tolerance_s).unwrap_or(i64::MAX), now_s).is_ok()
}

/// Milliseconds since 1970.
fn unix_ms(at: TimestampWithTimeZone) -> i64 {
    match i64::from(at) {
        i64::MIN | i64::MAX => refuse("at is infinite", "Give the time the request is made at."),
        // Divided first: the sum of the latest time there is and the epoch does not fit.
        us => us.div_euclid(1000) + POSTGRES_EPOCH_US / 1000,
    }
}

fn find(name: &str) -> Scheme {
    let mut found = None;
    acting_as(own_role(OWNER), false, || {
        SCHEME.with(|statement| {
            statement
                .run(Seen::Latest, &[name.into_datum()], |row| found = Some(Scheme::try_new(&spec_of(row))));
        });
    });
    match found {
        Some(Ok(scheme)) => scheme,
        Some(Err(invalid)) => {
            refuse(format!("signature scheme \"{name}\" is not valid: {invalid}"), "Mend its row.")
        }
        None => crate::raise(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("there is no signature scheme \"{name}\""),
            "SELECT name, description FROM webhook.signature_scheme lists them.",
        ),
    }
}

fn accept<K>(parsed: Result<K, InvalidSecret>) -> K {
    parsed.unwrap_or_else(|invalid| {
        refuse(
            format!("the secret is not valid: {invalid}"),
            "Give it as webhook_endpoint_create() showed it, or for ed25519 its public key to verify with.",
        )
    })
}

/// The type a body says it has; schemes may carry it in a header.
fn type_in(body: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|body| body.get("type").and_then(|found| found.as_str().map(str::to_owned)))
        .unwrap_or_default()
}
