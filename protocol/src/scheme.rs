//! Signature schemes: how requests are signed and which headers carry it, as data. What a scheme does is in
//! `sign.rs` and `verify.rs`.

use std::fmt;

use base64ct::{Base64, Encoding};

use crate::ascii::{hex, unhex};
use crate::header::{InvalidHeaderName, check_name};
use crate::secret::{InvalidKeyEncoding, KeyEncoding};
use crate::template::{InvalidTemplate, Placeholder, Template};

pub use crate::message::Message;

/// The most headers a scheme may have.
pub const MAX_HEADERS: usize = 32;

/// A scheme as it is written down: a row of `webhook.signature_scheme`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeSpec {
    pub name: String,
    /// `hmac-sha256` or `ed25519`.
    pub algorithm: String,
    /// `raw`, `base64` or `whsec`; `whsk` for `ed25519` ([`KeyEncoding`]).
    pub key_encoding: String,
    /// What is signed, such as `{id}.{timestamp}.{body}`. Must cover the body.
    pub content: String,
    /// `hex` (lower case) or `base64` (padded).
    pub digest_encoding: String,
    /// One signature, such as `v1,{digest}`.
    pub signature: String,
    /// What stands between signatures while several secrets are live. Empty: the receiver takes one signature only,
    /// made with the first secret.
    pub separator: String,
    /// Names and templates; `{signatures}` must be in one of them.
    pub headers: Vec<(String, String)>,
}

/// A valid [`SchemeSpec`], parsed.
#[derive(Debug, Clone)]
pub struct Scheme {
    pub(crate) name: String,
    pub(crate) key_encoding: KeyEncoding,
    pub(crate) content: Template,
    pub(crate) digest_encoding: DigestEncoding,
    pub(crate) signature: Template,
    pub(crate) separator: String,
    pub(crate) headers: Vec<(String, Template)>,
}

impl Scheme {
    /// # Errors
    /// When the algorithm or an encoding is unknown, a template cannot be parsed, a placeholder stands where it has
    /// no meaning or is missing where it must be, or a header cannot be sent.
    pub fn try_new(spec: &SchemeSpec) -> Result<Self, InvalidScheme> {
        use Placeholder::{Body, BodySha256Base64, BodySha256Hex, Digest, Signatures};
        let key_encoding: KeyEncoding = spec.key_encoding.parse().map_err(InvalidScheme::KeyEncoding)?;
        let takes_pairs = match spec.algorithm.as_str() {
            "hmac-sha256" => false,
            "ed25519" => true,
            _ => return Err(InvalidScheme::Algorithm(spec.algorithm.clone())),
        };
        if takes_pairs != (key_encoding == KeyEncoding::Whsk) {
            return Err(InvalidScheme::UnfitKeys(spec.algorithm.clone(), key_encoding));
        }
        let content = template("content", &spec.content, &[Signatures, Digest])?;
        if ![Body, BodySha256Hex, BodySha256Base64].into_iter().any(|p| content.uses(p)) {
            return Err(InvalidScheme::BodyNotSigned(spec.content.clone()));
        }
        let signature = template("signature", &spec.signature, &[Body, Signatures])?;
        if !signature.uses(Digest) {
            return Err(InvalidScheme::NoDigest(spec.signature.clone()));
        }
        for text in signature.texts() {
            check_sendable("signature", text)?;
        }
        check_sendable("separator", &spec.separator)?;
        Ok(Self {
            name: spec.name.clone(),
            key_encoding,
            content,
            digest_encoding: DigestEncoding::named(&spec.digest_encoding)?,
            signature,
            separator: spec.separator.clone(),
            headers: parse_headers(&spec.headers)?,
        })
    }

    /// The scheme of Standard Webhooks ("Signature scheme"): the one an endpoint has unless it names another.
    #[must_use]
    pub fn standard() -> Self {
        let header = |name: &str, template: &str| (name.to_owned(), template.to_owned());
        Self::try_new(&SchemeSpec {
            name: "standard".to_owned(),
            algorithm: "hmac-sha256".to_owned(),
            key_encoding: "whsec".to_owned(),
            content: "{id}.{timestamp}.{body}".to_owned(),
            digest_encoding: "base64".to_owned(),
            signature: "v1,{digest}".to_owned(),
            separator: " ".to_owned(),
            headers: vec![
                header("webhook-id", "{id}"),
                header("webhook-timestamp", "{timestamp}"),
                header("webhook-signature", "{signatures}"),
            ],
        })
        .expect("the standard scheme is valid")
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn key_encoding(&self) -> KeyEncoding {
        self.key_encoding
    }

    /// In the order in which they are sent.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    /// The length of a digest as text.
    pub(crate) fn digest_bytes(&self) -> usize {
        let bytes: usize = if self.key_encoding == KeyEncoding::Whsk { 64 } else { 32 };
        match self.digest_encoding {
            DigestEncoding::Hex => bytes * 2,
            DigestEncoding::Base64 => bytes.div_ceil(3) * 4,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum DigestEncoding {
    Hex,
    Base64,
}

impl DigestEncoding {
    fn named(name: &str) -> Result<Self, InvalidScheme> {
        match name {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            _ => Err(InvalidScheme::DigestEncoding(name.to_owned())),
        }
    }

    /// The digest as text in `buffer`.
    pub(crate) fn encode<'b>(self, digest: &[u8], buffer: &'b mut [u8; DIGEST_BYTES]) -> &'b str {
        match self {
            Self::Hex => hex(digest, &mut buffer[..digest.len() * 2]),
            Self::Base64 => Base64::encode(digest, buffer).expect("shorter than hex"),
        }
    }

    /// The bytes of an Ed25519 signature.
    pub(crate) fn decode(self, text: &str) -> Option<[u8; 64]> {
        let mut bytes = [0; 64];
        match self {
            Self::Hex => unhex(text, &mut bytes)?,
            Self::Base64 if Base64::decode(text, &mut bytes).is_ok_and(|decoded| decoded.len() == 64) => {}
            Self::Base64 => return None,
        }
        Some(bytes)
    }
}

/// The longest digest as text: an Ed25519 signature in hex.
pub(crate) const DIGEST_BYTES: usize = 128;

fn parse_headers(specs: &[(String, String)]) -> Result<Vec<(String, Template)>, InvalidScheme> {
    if specs.len() > MAX_HEADERS {
        return Err(InvalidScheme::TooManyHeaders(specs.len()));
    }
    let mut headers: Vec<(String, Template)> = Vec::with_capacity(specs.len());
    for (name, source) in specs {
        check_name(name).map_err(InvalidScheme::HeaderName)?;
        if headers.iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
            return Err(InvalidScheme::DuplicateHeader(name.clone()));
        }
        let parsed = template(name, source, &[Placeholder::Body, Placeholder::Digest])?;
        for text in parsed.texts() {
            check_sendable(name, text)?;
        }
        if source.starts_with(' ') || source.ends_with(' ') {
            return Err(InvalidScheme::NotSendable { place: name.clone(), text: source.clone() });
        }
        headers.push((name.clone(), parsed));
    }
    if !headers.iter().any(|(_, template)| template.uses(Placeholder::Signatures)) {
        return Err(InvalidScheme::NoSignatures);
    }
    Ok(headers)
}

fn template(place: &str, source: &str, banned: &[Placeholder]) -> Result<Template, InvalidScheme> {
    let parsed = Template::try_new(source)
        .map_err(|error| InvalidScheme::Template { place: place.to_owned(), error })?;
    match banned.iter().find(|placeholder| parsed.uses(**placeholder)) {
        Some(&placeholder) => Err(InvalidScheme::Misplaced { place: place.to_owned(), placeholder }),
        None => Ok(parsed),
    }
}

/// Text in a header must be visible ASCII or spaces (RFC 9110, 5.5), so that it arrives as it was sent.
fn check_sendable(place: &str, text: &str) -> Result<(), InvalidScheme> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(())
    } else {
        Err(InvalidScheme::NotSendable { place: place.to_owned(), text: text.to_owned() })
    }
}

/// Why a scheme is refused. A `place` is `content`, `signature`, `separator` or the name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidScheme {
    Algorithm(String),
    KeyEncoding(InvalidKeyEncoding),
    UnfitKeys(String, KeyEncoding),
    DigestEncoding(String),
    Template { place: String, error: InvalidTemplate },
    Misplaced { place: String, placeholder: Placeholder },
    BodyNotSigned(String),
    NoDigest(String),
    NoSignatures,
    HeaderName(InvalidHeaderName),
    DuplicateHeader(String),
    NotSendable { place: String, text: String },
    TooManyHeaders(usize),
}

impl fmt::Display for InvalidScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm(name) => write!(f, "invalid algorithm {name:?}: must be hmac-sha256 or ed25519"),
            Self::KeyEncoding(error) => error.fmt(f),
            Self::UnfitKeys(algorithm, encoding) => write!(
                f,
                "invalid key encoding {encoding} of {algorithm}: must be whsk for ed25519, another for hmac-sha256"
            ),
            Self::DigestEncoding(name) => {
                write!(f, "invalid digest encoding {name:?}: must be hex or base64")
            }
            Self::Template { place, error } => write!(f, "{place}: {error}"),
            Self::Misplaced { place, placeholder } => write!(f, "{place}: {placeholder} cannot be used here"),
            Self::BodyNotSigned(content) => write!(
                f,
                "invalid content {content:?}: must contain {{body}}, {{body_sha256_hex}} or {{body_sha256_base64}}"
            ),
            Self::NoDigest(signature) => {
                write!(f, "invalid signature {signature:?}: must contain {{digest}}")
            }
            Self::NoSignatures => f.write_str("invalid headers: one of them must contain {signatures}"),
            Self::HeaderName(error) => error.fmt(f),
            Self::DuplicateHeader(name) => write!(f, "invalid headers: {name} is there twice"),
            Self::NotSendable { place, text } => write!(
                f,
                "{place}: {text:?} must be visible ASCII and spaces, the value of a header without spaces at its ends"
            ),
            Self::TooManyHeaders(count) => write!(f, "{count} headers: must be at most {MAX_HEADERS}"),
        }
    }
}

impl std::error::Error for InvalidScheme {}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> SchemeSpec {
        SchemeSpec {
            name: "test".to_owned(),
            algorithm: "hmac-sha256".to_owned(),
            key_encoding: "raw".to_owned(),
            content: "{body}".to_owned(),
            digest_encoding: "hex".to_owned(),
            signature: "sha256={digest}".to_owned(),
            separator: ",".to_owned(),
            headers: vec![("X-Signature".to_owned(), "{signatures}".to_owned())],
        }
    }

    /// Changes a valid specification and expects it to be refused with the message, or accepted where there is none.
    #[track_caller]
    fn check(change: impl FnOnce(&mut SchemeSpec), expected: &str) {
        let mut spec = spec();
        change(&mut spec);
        let message = Scheme::try_new(&spec).map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(message, expected);
    }

    #[track_caller]
    fn check_header(name: &str, template: &str, expected: &str) {
        check(|s| s.headers.push((name.to_owned(), template.to_owned())), expected);
    }

    #[test]
    fn algorithm_and_encodings() {
        check(|_| (), "");
        check(|s| s.algorithm = "md5".into(), "invalid algorithm \"md5\": must be hmac-sha256 or ed25519");
        check(
            |s| s.key_encoding = "hex".into(),
            "invalid key encoding \"hex\": must be raw, base64, whsec or whsk",
        );
        let unfit =
            |what| format!("invalid key encoding {what}: must be whsk for ed25519, another for hmac-sha256");
        check(|s| s.algorithm = "ed25519".into(), &unfit("raw of ed25519"));
        check(|s| s.key_encoding = "whsk".into(), &unfit("whsk of hmac-sha256"));
        let pair = |s: &mut SchemeSpec| (s.algorithm, s.key_encoding) = ("ed25519".into(), "whsk".into());
        check(pair, "");
        check(|s| s.digest_encoding = "HEX".into(), "invalid digest encoding \"HEX\": must be hex or base64");
    }

    #[test]
    fn content_and_signature() {
        check(|s| s.content = "{body_sha256_hex}".into(), "");
        check(
            |s| s.content = "{id}".into(),
            "invalid content \"{id}\": must contain {body}, {body_sha256_hex} or {body_sha256_base64}",
        );
        check(|s| s.content = "{body}{digest}".into(), "content: {digest} cannot be used here");
        check(|s| s.content = "{signatures}{body}".into(), "content: {signatures} cannot be used here");
        check(
            |s| s.content = "{body".into(),
            "content: unmatched brace in \"{body\": a brace itself is written {{ or }}",
        );
        check(|s| s.signature = "v1".into(), "invalid signature \"v1\": must contain {digest}");
        check(|s| s.signature = "{digest}{body}".into(), "signature: {body} cannot be used here");
        check(
            |s| s.signature = "é{digest}".into(),
            "signature: \"é\" must be visible ASCII and spaces, the value of a header without spaces at its ends",
        );
        check(
            |s| s.separator = "\r\n".into(),
            "separator: \"\\r\\n\" must be visible ASCII and spaces, the value of a header without spaces at its ends",
        );
    }

    #[test]
    fn headers() {
        check_header("X-Type", "{type_first}", "");
        check(|s| s.headers.clear(), "invalid headers: one of them must contain {signatures}");
        check_header("x-signature", "{id}", "invalid headers: x-signature is there twice");
        check_header("X-Body", "{body}", "X-Body: {body} cannot be used here");
        check_header("X-Digest", "{digest}", "X-Digest: {digest} cannot be used here");
        check_header(
            "Content-Length",
            "0",
            "invalid header name \"Content-Length\": belongs to the connection or the HTTP client",
        );
        check_header(
            "X Y",
            "1",
            "invalid header name \"X Y\": must be letters, digits and !#$%&'*+-.^_`|~, 1 to 128 bytes",
        );
        for value in [" a", "a ", "a\nb", "é"] {
            let rule = "must be visible ASCII and spaces, the value of a header without spaces at its ends";
            check_header("X-Value", value, &format!("X-Value: {value:?} {rule}"));
        }
        check(
            |s| s.headers = (0..33).map(|n| (format!("X-{n}"), "{signatures}".to_owned())).collect(),
            "33 headers: must be at most 32",
        );
    }
}
