//! How an endpoint is to be called: its row as webhook.worker_endpoints() returns it, read once and then ready to use.

mod schemes;

use crate::http::{Certificates, Destination};
use crate::outcome::Callbacks;
use protocol::header::check_name;
use protocol::outcome::{Policy, StatusSet};
use protocol::scheme::SchemeSpec;
use protocol::secret::Secret;
use protocol::url::InvalidUrl;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use schemes::Signing;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Row;
use url::Url;

pub const USER_AGENT_VALUE: &str = concat!("pg_webhook/", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub struct EndpointConfig {
    pub id: i32,
    /// Renewed when secrets or scheme change.
    pub generation: i32,
    /// Counts changes of any kind.
    pub revision: i64,
    pub status: Status,
    pub max_in_flight: usize,
    pub ordered: bool,
    /// Attempts per second.
    pub rate_limit: Option<f64>,
    pub policy: Policy,
    pub timeout: Duration,
    pub callbacks: Callbacks,
    /// Or why it can't be called as it is configured.
    pub call: Result<Call, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    Paused,
    Disabled,
    /// Its row is gone.
    Deleted,
}

/// What every request to the endpoint has in common.
#[derive(Debug)]
pub struct Call {
    pub to: Destination,
    pub url_text: Arc<str>,
    pub signing: Arc<Signing>,
    pub secrets: Vec<Secret>,
    pub certificates: Option<Certificates>,
    /// Ours and the endpoint's own, but for those of the scheme. No map: there are thousands of these, at rest.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The same for the log, as the beginning of a JSON object, values of the endpoint's own redacted.
    pub headers_log: String,
}

impl EndpointConfig {
    pub fn from_row(row: &Row) -> Result<EndpointConfig, tokio_postgres::Error> {
        let status: &str = row.try_get("status")?;
        Ok(EndpointConfig {
            id: row.try_get("endpoint_id")?,
            generation: row.try_get("generation")?,
            revision: row.try_get("revision")?,
            status: match status {
                "paused" => Status::Paused,
                "disabled" => Status::Disabled,
                _ => Status::Active,
            },
            max_in_flight: row.try_get::<_, i32>("max_in_flight")?.max(1) as usize,
            ordered: row.try_get("ordered")?,
            rate_limit: row.try_get("rate_limit")?,
            timeout: Duration::try_from_secs_f64(row.try_get("timeout_s")?)
                .unwrap_or(Duration::from_secs(30)),
            policy: Policy {
                retry_schedule_s: row.try_get("retry_schedule_s")?,
                retry_jitter: row.try_get("retry_jitter")?,
                retry_for_s: row.try_get("retry_for_s")?,
                retry_after_max_s: row.try_get("retry_after_max_s")?,
                success_on: status_set(row.try_get("success_on")?),
                give_up_on: status_set(row.try_get("give_up_on")?),
                disable_on: status_set(row.try_get("disable_on")?),
            },
            callbacks: Callbacks {
                on_delivered: row.try_get("calls_on_delivered")?,
                on_failed: row.try_get("calls_on_failed")?,
            },
            call: Call::new(
                row.try_get("url")?,
                row.try_get("allow_http")?,
                row.try_get::<_, Option<Value>>("scheme")?,
                row.try_get("secrets")?,
                row.try_get("headers")?,
                Certificates::new(row.try_get("client_certificate")?, row.try_get("ca_certificate")?),
            ),
        })
    }

    /// For an endpoint that has no row any more: its deliveries are skipped.
    pub fn deleted(id: i32) -> EndpointConfig {
        EndpointConfig {
            id,
            generation: i32::MAX,
            revision: i64::MAX,
            status: Status::Deleted,
            max_in_flight: 1,
            ordered: false,
            rate_limit: None,
            timeout: Duration::ZERO,
            policy: Policy {
                retry_schedule_s: Vec::new(),
                retry_jitter: 0.0,
                retry_for_s: None,
                retry_after_max_s: 0.0,
                success_on: StatusSet::default(),
                give_up_on: StatusSet::default(),
                disable_on: StatusSet::default(),
            },
            callbacks: Callbacks::default(),
            call: Err("endpoint deleted".to_owned()),
        }
    }
}

impl Call {
    /// A restored row has passed no check, so all are made here. Errors repeat no value.
    fn new(
        url: &str,
        allow_http: bool,
        scheme: Option<Value>,
        secrets: Vec<String>,
        headers: Value,
        certificates: Option<Certificates>,
    ) -> Result<Call, String> {
        protocol::url::check(url, allow_http).map_err(|problem| match problem {
            InvalidUrl::NotHttps => {
                "the endpoint's url is plain http and pg_webhook.allow_http is off".to_owned()
            }
            problem => format!("the endpoint's url is not valid: {problem}"),
        })?;
        let parsed = Url::parse(url).map_err(|_| "the endpoint's url is not valid".to_owned())?;
        let scheme = scheme.ok_or("the endpoint's signature scheme does not exist")?;
        let signing = schemes::read(scheme_spec(&scheme))
            .map_err(|problem| format!("the endpoint's signature scheme is not valid: {problem}"))?;
        let secrets = secrets
            .iter()
            .map(|text| Secret::parse(text, signing.scheme.key_encoding()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| problem.to_string())?;
        if secrets.is_empty() {
            return Err("endpoint has no secret: give it one with webhook_rotate_secret()".to_owned());
        }
        let mut call = Call {
            to: Destination::new(parsed),
            url_text: url.into(),
            signing,
            secrets,
            certificates,
            headers: Vec::new(),
            headers_log: String::from("{"),
        };
        call.add(CONTENT_TYPE, HeaderValue::from_static("application/json"), None);
        call.add(ACCEPT, HeaderValue::from_static("*/*"), None);
        call.add(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE), None);
        for (name, value) in headers.as_object().into_iter().flatten() {
            call.add_own(name, value)?;
        }
        Ok(call)
    }

    fn add_own(&mut self, name: &str, value: &Value) -> Result<(), String> {
        check_name(name).map_err(|problem| problem.to_string())?;
        let invalid = || format!("header \"{name}\" of the endpoint has a value that can't be sent");
        let value = HeaderValue::from_str(value.as_str().ok_or_else(invalid)?).map_err(|_| invalid())?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        self.add(name, value, Some("(redacted)"));
        Ok(())
    }

    fn add(&mut self, name: HeaderName, mut value: HeaderValue, shown: Option<&str>) {
        let text = shown.or_else(|| value.to_str().ok()).unwrap_or_default();
        if self.headers_log.len() > 1 {
            self.headers_log.push(',');
        }
        push_pair(&mut self.headers_log, name.as_str(), text);
        value.set_sensitive(shown.is_some());
        self.headers.push((name, value));
    }

    /// With room for those of the scheme. A later one replaces an earlier one of the same name.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 4);
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        headers
    }
}

/// Appends `"name":"value"`.
pub fn push_pair(json: &mut String, name: &str, value: &str) {
    for (text, after) in [(name, ":"), (value, "")] {
        json.push('"');
        // All bytes are looked at, for that is done many at a time.
        let escaped = |byte| (byte == b'"') | (byte == b'\\') | (byte < b' ');
        if text.bytes().fold(false, |found, byte| found | escaped(byte)) {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            json.push_str(&quoted[1..quoted.len() - 1]);
        } else {
            json.push_str(text);
        }
        json.push('"');
        json.push_str(after);
    }
}

fn scheme_spec(row: &Value) -> SchemeSpec {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let headers = row["headers"].as_object().into_iter().flatten();
    SchemeSpec {
        name: text("name"),
        algorithm: text("algorithm"),
        key_encoding: text("key_encoding"),
        content: text("content"),
        digest_encoding: text("digest_encoding"),
        signature: text("signature"),
        separator: text("separator"),
        headers: headers
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    }
}

/// `[[200, 300]]`, half-open.
fn status_set(ranges: Value) -> StatusSet {
    let bound = |value: &Value| value.as_u64().map(|code| code.min(1_000) as u16);
    let ranges = ranges.as_array().into_iter().flatten();
    ranges.filter_map(|range| Some((bound(&range[0])?, bound(&range[1])?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn standard() -> Value {
        json!({"name": "standard", "algorithm": "hmac-sha256", "key_encoding": "whsec",
            "content": "{id}.{timestamp}.{body}", "digest_encoding": "base64", "signature": "v1,{digest}",
            "separator": " ", "headers": {"webhook-id": "{id}", "webhook-signature": "{signatures}"}})
    }

    fn call(url: &str, secrets: &[&str], headers: Value) -> Result<Call, String> {
        Call::new(
            url,
            false,
            Some(standard()),
            secrets.iter().map(ToString::to_string).collect(),
            headers,
            None,
        )
    }

    #[test]
    fn headers_of_the_endpoint_are_sent_but_not_shown() {
        let call =
            call("https://example.com/x", &[SECRET], json!({"X-Token": "hunter2", "user-agent": "mine"}));
        let call = call.unwrap();
        assert_eq!(call.headers()["x-token"], "hunter2");
        assert_eq!(call.headers()["user-agent"], "mine");
        let log: Value = serde_json::from_str(&format!("{}}}", call.headers_log)).unwrap();
        assert_eq!(log["x-token"], "(redacted)");
        assert_eq!(log["content-type"], "application/json");
        assert!(!format!("{call:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_restore_may_bring_is_refused_without_repeating_it() {
        for (url, secrets, headers, expected) in [
            ("https://u:hunter2@example.com", vec![SECRET], json!({}), "user name or password"),
            ("ftp://hunter2", vec![SECRET], json!({}), "url"),
            ("https://example.com", vec![], json!({}), "no secret"),
            ("https://example.com", vec!["hunter2"], json!({}), "secret"),
            ("https://example.com", vec![SECRET], json!({"host": "hunter2"}), "host"),
            ("https://example.com", vec![SECRET], json!({"x": "hunter2\n"}), "can't be sent"),
            ("https://example.com", vec![SECRET], json!({"x": 1}), "can't be sent"),
        ] {
            let error = call(url, &secrets, headers).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn json_is_escaped() {
        let mut json = String::new();
        push_pair(&mut json, "a", "x\"y\\z");
        assert_eq!(json, r#""a":"x\"y\\z""#);
        assert!(status_set(json!([[200, 300]])).contains(299));
        assert!(status_set(json!([[500, 4_000_000_000u64]])).contains(599));
    }
}
