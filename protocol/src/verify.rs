//! Whether a request was signed with one of our secrets, for `webhook_verify` and receivers: a scheme read backwards.

use std::fmt;

use ed25519_dalek::Signature;
use hmac::Mac;
use subtle::ConstantTimeEq;

use crate::capture::capture;
use crate::event_type::first_segment;
use crate::message::BodyTexts;
use crate::scheme::{DIGEST_BYTES, Scheme};
use crate::secret::{Check, Verifier};
use crate::template::{Placeholder, Template, Values};

/// The most signatures of one request that are compared: each may cost a hash of the body.
pub const MAX_SIGNATURES: usize = 16;

impl Scheme {
    /// Checks a request: that one of its signatures is the content's under one of the keys, and that its timestamp,
    /// where the scheme has one, is at most `tolerance_s` away from `now_s` (seconds since 1970), both ends included.
    ///
    /// The names of `headers` are compared without regard to case; of several with one name the first counts.
    ///
    /// # Errors
    /// [`VerifyError::Untimely`] only where the signature is right.
    pub fn verify(
        &self,
        headers: &[(String, String)],
        body: &str,
        verifiers: &[Verifier],
        tolerance_s: i64,
        now_s: i64,
    ) -> Result<(), VerifyError> {
        let mut body_texts = BodyTexts::new(body);
        let mut values = body_texts.values(|p| self.uses(p));
        for (name, template) in &self.headers {
            self.read_header(headers, name, template, &mut values)?;
        }
        let signatures = values.get(Placeholder::Signatures).unwrap_or_default();
        let mut compared = 0;
        for start in self.signature_starts(signatures) {
            let mut values = values;
            if !self.read_signature(&signatures[start..], &mut values) {
                continue;
            }
            self.derive(&mut values)?;
            if verifiers.iter().any(|verifier| self.is_signed(verifier, &values)) {
                return check_time(&values, tolerance_s, now_s);
            }
            compared += 1;
            if compared == MAX_SIGNATURES {
                break;
            }
        }
        Err(VerifyError::NoMatch)
    }

    fn uses(&self, placeholder: Placeholder) -> bool {
        self.signed(placeholder) || self.headers.iter().any(|(_, template)| template.uses(placeholder))
    }

    fn signed(&self, placeholder: Placeholder) -> bool {
        self.content.uses(placeholder) || self.signature.uses(placeholder)
    }

    fn read_header<'a>(
        &self,
        headers: &'a [(String, String)],
        name: &str,
        template: &Template,
        values: &mut Values<'a>,
    ) -> Result<(), VerifyError> {
        use Placeholder::{AttemptId, Signatures, Tenant, Timestamp, TimestampMs};
        let Some((_, text)) = headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)) else {
            // A tenant and an attempt id may be lacking: their headers are then not sent.
            let is_needed = template.placeholders().any(|placeholder| match placeholder {
                Signatures | Timestamp | TimestampMs => true,
                AttemptId | Tenant => false,
                _ => self.signed(placeholder),
            });
            return if is_needed { Err(VerifyError::MissingHeader(name.to_owned())) } else { Ok(()) };
        };
        let has_values = template.placeholders().next().is_some();
        if has_values && capture(template, text, self.digest_bytes(), None, values) != Some(text.len()) {
            return Err(VerifyError::UnexpectedHeader(name.to_owned()));
        }
        Ok(())
    }

    /// Where a signature may begin: a template may itself contain the separator, and signatures of other versions may
    /// stand in between.
    fn signature_starts<'t>(&self, signatures: &'t str) -> impl Iterator<Item = usize> + use<'t, '_> {
        let separator = self.separator.as_str();
        let separators = (!separator.is_empty()).then(|| signatures.match_indices(separator));
        [0].into_iter().chain(separators.into_iter().flatten().map(|(at, _)| at + separator.len()))
    }

    fn read_signature<'a>(&self, text: &'a str, values: &mut Values<'a>) -> bool {
        let Some(end) = capture(&self.signature, text, self.digest_bytes(), Some(&self.separator), values)
        else {
            return false;
        };
        end == text.len() || !self.separator.is_empty() && text[end..].starts_with(&self.separator)
    }

    /// Completes the values of the content from those that were sent.
    fn derive(&self, values: &mut Values<'_>) -> Result<(), VerifyError> {
        use Placeholder::{AttemptId, Tenant, Timestamp, TimestampMs, Type, TypeFirst};
        for placeholder in self.content.placeholders() {
            if values.get(placeholder).is_some() {
                continue;
            }
            let derived = match placeholder {
                AttemptId | Tenant => Some(""),
                Timestamp => values.get(TimestampMs).map(seconds_of),
                TypeFirst => values.get(Type).map(first_segment),
                _ => None,
            };
            values.set(placeholder, derived.ok_or(VerifyError::NotCarried(placeholder))?);
        }
        Ok(())
    }

    fn is_signed(&self, verifier: &Verifier, values: &Values<'_>) -> bool {
        let given = values.get(Placeholder::Digest).unwrap_or_default();
        match &verifier.0 {
            Check::Hmac(hmac) => {
                let mut hmac = hmac.clone();
                self.content.render(values, |text| hmac.update(text.as_bytes()));
                let mut buffer = [0; DIGEST_BYTES];
                let expected = self.digest_encoding.encode(&hmac.finalize().into_bytes(), &mut buffer);
                expected.as_bytes().ct_eq(given.as_bytes()).into()
            }
            Check::Ed25519(key) => self.digest_encoding.decode(given).is_some_and(|signature| {
                let content = self.content.text(values);
                key.verify_strict(content.as_bytes(), &Signature::from_bytes(&signature)).is_ok()
            }),
        }
    }
}

fn check_time(values: &Values<'_>, tolerance_s: i64, now_s: i64) -> Result<(), VerifyError> {
    let timestamps =
        [values.get(Placeholder::Timestamp), values.get(Placeholder::TimestampMs).map(seconds_of)];
    for timestamp in timestamps.into_iter().flatten() {
        // Digits only: what cannot be parsed is beyond the range.
        let age_s = now_s.saturating_sub(timestamp.parse().unwrap_or(i64::MAX));
        if age_s.saturating_abs() > tolerance_s {
            return Err(VerifyError::Untimely { age_s, tolerance_s });
        }
    }
    Ok(())
}

/// The digits of a timestamp in milliseconds that are its seconds.
fn seconds_of(timestamp_ms: &str) -> &str {
    match timestamp_ms.len().checked_sub(3) {
        None | Some(0) => "0",
        Some(length) => &timestamp_ms[..length],
    }
}

/// Why a request is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyError {
    MissingHeader(String),
    /// The header has not the form the scheme gives it, or contradicts the body or another header.
    UnexpectedHeader(String),
    /// The scheme signs a value that no header carries: it can sign but not verify.
    NotCarried(Placeholder),
    /// No signature is one of the content under a known secret.
    NoMatch,
    /// Rightly signed, but too long ago or, where the age is negative, too far in the future.
    Untimely {
        age_s: i64,
        tolerance_s: i64,
    },
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeader(name) => write!(f, "missing header {name}"),
            Self::UnexpectedHeader(name) => {
                write!(f, "unexpected header {name}: not of the scheme's form, or contradicts the rest")
            }
            Self::NotCarried(placeholder) => write!(f, "no header carries {placeholder}, which is signed"),
            Self::NoMatch => f.write_str("no matching signature"),
            Self::Untimely { age_s, tolerance_s } => {
                write!(f, "timestamp {age_s} s old: must be within {tolerance_s} s of now")
            }
        }
    }
}

impl std::error::Error for VerifyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::{Message, SchemeSpec};
    use crate::secret::{KeyEncoding, Secret};
    use proptest::prelude::*;

    const NOW_S: i64 = 1_700_000_000;
    const MESSAGE: Message<'_> = Message {
        id: "evt.1",
        attempt_id: Some("req_1"),
        at_ms: NOW_S * 1000,
        body: "{\"a\":1}",
        event_type: "order.paid",
        tenant: Some("Zoë & Co"),
    };

    fn raw(text: &str) -> Secret {
        Secret::parse(text, KeyEncoding::Raw).unwrap()
    }

    fn key(text: &str) -> Verifier {
        Verifier::from(&raw(text))
    }

    fn standard_with(key: &str) -> (Scheme, Vec<(String, String)>) {
        let standard = Scheme::standard();
        let headers = standard.headers(&MESSAGE, &standard.sign(&[raw(key)], &MESSAGE));
        (standard, headers)
    }

    /// Whether what a scheme of this content, signature and headers sends for [`MESSAGE`] is accepted.
    #[track_caller]
    fn check(content: &str, signature: &str, headers: &[&str], expected: Result<(), VerifyError>) {
        let headers =
            headers.iter().enumerate().map(|(n, template)| (format!("X-{n}"), (*template).to_owned()));
        let scheme = Scheme::try_new(&SchemeSpec {
            name: "test".to_owned(),
            algorithm: "hmac-sha256".to_owned(),
            key_encoding: "raw".to_owned(),
            content: content.to_owned(),
            digest_encoding: "hex".to_owned(),
            signature: signature.to_owned(),
            separator: " ".to_owned(),
            headers: headers.collect(),
        })
        .unwrap();
        let secrets = [raw("a"), raw("b")];
        let sent = scheme.headers(&MESSAGE, &scheme.sign(&secrets, &MESSAGE));
        assert_eq!(scheme.verify(&sent, MESSAGE.body, &[key("b")], 300, NOW_S), expected, "{sent:?}");
    }

    #[test]
    fn values_come_from_wherever_they_are_carried() {
        let all = "{id}|{attempt_id}|{timestamp}|{timestamp_ms}|{body}|{type}|{type_first}|{tenant}";
        check(
            all,
            "{digest}",
            &["{id} {attempt_id}", "{timestamp_ms}", "{type};{tenant}", "{signatures}"],
            Ok(()),
        );
        check(all, "{id};{attempt_id};{timestamp_ms};{type};{digest};{tenant}", &["{signatures}"], Ok(()));
        check("{timestamp}.{body}", "t={timestamp} v1={digest}", &["a={signatures}=a"], Ok(()));
        check(
            "{body_sha256_base64}{body_sha256_hex}",
            "{digest}",
            &["{signatures}", "{body_sha256_hex}"],
            Ok(()),
        );
        let not_carried = Err(VerifyError::NotCarried(Placeholder::Type));
        check("{type}{body}", "{digest}", &["{signatures}", "{type_first}"], not_carried);
        check(
            "{body}",
            "{digest}",
            &["{signatures}", "{id}{type}"],
            Err(VerifyError::UnexpectedHeader("X-1".into())),
        );
    }

    #[test]
    fn timestamps_within_the_tolerance_at_both_ends() {
        let (standard, headers) = standard_with("key");
        for (age_s, timely) in [(0, true), (300, true), (-300, true), (301, false), (-301, false)] {
            let result = standard.verify(&headers, MESSAGE.body, &[key("key")], 300, NOW_S + age_s);
            let untimely = VerifyError::Untimely { age_s, tolerance_s: 300 };
            assert_eq!(result, if timely { Ok(()) } else { Err(untimely) });
        }
        for now_s in [i64::MIN, i64::MAX] {
            assert!(standard.verify(&headers, MESSAGE.body, &[key("key")], 300, now_s).is_err());
        }
    }

    #[test]
    fn changed_requests_are_refused() {
        let unexpected = |name: &str| Err(VerifyError::UnexpectedHeader(name.to_owned()));
        let missing = |name: &str| Err(VerifyError::MissingHeader(name.to_owned()));
        let other = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=";
        for (name, value, expected) in [
            ("webhook-id", Some("evt.2"), Err(VerifyError::NoMatch)),
            ("webhook-id", Some(""), unexpected("webhook-id")),
            ("webhook-id", None, missing("webhook-id")),
            ("webhook-timestamp", Some("1700000001"), Err(VerifyError::NoMatch)),
            ("webhook-timestamp", Some("01700000000"), Err(VerifyError::NoMatch)),
            ("webhook-timestamp", Some("99999999999999999999"), Err(VerifyError::NoMatch)),
            ("webhook-timestamp", Some("-1700000000"), unexpected("webhook-timestamp")),
            ("webhook-timestamp", Some("1700000000 "), unexpected("webhook-timestamp")),
            ("webhook-timestamp", None, missing("webhook-timestamp")),
            ("webhook-signature", Some(""), unexpected("webhook-signature")),
            ("webhook-signature", Some("v1,"), Err(VerifyError::NoMatch)),
            ("webhook-signature", Some("v1,é"), Err(VerifyError::NoMatch)),
            ("webhook-signature", Some(other), Err(VerifyError::NoMatch)),
            ("webhook-signature", None, missing("webhook-signature")),
        ] {
            let (standard, mut headers) = standard_with("key");
            headers.retain(|(sent, _)| sent != name);
            headers.extend(value.map(|value| (name.to_uppercase(), value.to_owned())));
            let result = standard.verify(&headers, MESSAGE.body, &[key("key")], 300, NOW_S);
            assert_eq!(result, expected, "{name}: {value:?}");
        }
    }

    #[test]
    fn one_of_several_signatures_suffices() {
        let (standard, mut headers) = standard_with("key");
        let right = headers.pop().unwrap().1;
        let wrong = format!("v1,{}=", "A".repeat(43));
        let many = |count: usize| format!("{}{right}", format!("{wrong} ").repeat(count));
        for (signatures, accepted) in [
            (format!("{wrong} {right}"), true),
            (format!("{right} {wrong}"), true),
            (format!("v1a,{right} v2,x {right}"), true),
            (format!("v1a,{right}"), false),
            (format!("{right},{right}"), false),
            (format!("x{right}"), false),
            (right[3..].to_owned(), false),
            (many(MAX_SIGNATURES - 1), true),
            (many(MAX_SIGNATURES), false),
        ] {
            headers.truncate(2);
            headers.push(("Webhook-Signature".to_owned(), signatures.clone()));
            let result = standard.verify(&headers, MESSAGE.body, &[key("other"), key("key")], 300, NOW_S);
            assert_eq!(result.is_ok(), accepted, "{signatures}");
        }
    }

    #[test]
    fn without_secrets_nothing_is_accepted() {
        let (standard, headers) = standard_with("key");
        assert_eq!(standard.verify(&headers, MESSAGE.body, &[], 300, NOW_S), Err(VerifyError::NoMatch));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = VerifyError::Untimely { age_s: -400, tolerance_s: 300 };
        assert_eq!(error.to_string(), "timestamp -400 s old: must be within 300 s of now");
        let error = VerifyError::NotCarried(Placeholder::Type);
        assert_eq!(error.to_string(), "no header carries {type}, which is signed");
    }

    proptest! {
        #[test]
        fn what_is_signed_is_accepted(
            id in "[!-~]{1,40}", body: String, at_ms in 0..4_000_000_000_000i64, keys in prop::collection::vec("[ -~]{1,20}", 1..4),
        ) {
            let standard = Scheme::standard();
            let message = Message { id: &id, body: &body, at_ms, ..MESSAGE };
            let secrets: Vec<_> = keys.iter().map(|key| raw(key)).collect();
            let headers = standard.headers(&message, &standard.sign(&secrets, &message));
            for secret in secrets {
                prop_assert_eq!(standard.verify(&headers, &body, &[Verifier::from(&secret)], 0, at_ms / 1000), Ok(()));
            }
        }

        #[test]
        fn a_changed_byte_is_refused(header in 0..3usize, at: prop::sample::Index, to in b'!'..=b'~') {
            let (standard, mut headers) = standard_with("key");
            let value = &mut headers[header].1;
            let at = at.index(value.len());
            prop_assume!(value.as_bytes()[at] != to);
            value.replace_range(at..=at, std::str::from_utf8(&[to]).unwrap());
            prop_assert!(standard.verify(&headers, MESSAGE.body, &[key("key")], 300, NOW_S).is_err());
        }

        #[test]
        fn no_request_makes_it_panic(values in prop::array::uniform3(".{0,80}"), body: String) {
            let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
            let headers: Vec<_> = names.into_iter().map(str::to_owned).zip(values).collect();
            prop_assert!(Scheme::standard().verify(&headers, &body, &[key("key")], 300, NOW_S).is_err());
        }
    }
}
