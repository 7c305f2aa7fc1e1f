//! Names and values of HTTP headers that a user may choose, for signature schemes and endpoints.

use std::borrow::Cow;
use std::fmt;

/// The longest header name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Headers that belong to the connection or to the HTTP client (RFC 9110, 7.2, 7.6.1, 8 and 10.1.1), in lower case.
const RESERVED: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a request may carry a header of this name, chosen by a user.
///
/// # Errors
/// When `name` is not a token (RFC 9110, 5.6.2), is too long, or belongs to the connection or the HTTP client.
pub fn check_name(name: &str) -> Result<(), InvalidHeaderName> {
    let is_token = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !is_token {
        return Err(InvalidHeaderName::NotAToken(name.chars().take(MAX_NAME_BYTES + 1).collect()));
    }
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err(InvalidHeaderName::Reserved(name.to_owned()));
    }
    Ok(())
}

/// `value` with every byte outside visible ASCII percent-encoded. A percent sign stays as it is.
#[must_use]
pub fn escape(value: &str) -> Cow<'_, str> {
    // All bytes are looked at, for that is done many at a time.
    if value.bytes().fold(true, |fine, byte| fine & byte.is_ascii_graphic()) {
        return Cow::Borrowed(value);
    }
    let mut escaped = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        if byte.is_ascii_graphic() {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for nibble in [byte >> 4, byte & 15] {
                escaped.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    Cow::Owned(escaped)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidHeaderName {
    NotAToken(String),
    Reserved(String),
}

impl fmt::Display for InvalidHeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAToken(name) => write!(
                f,
                "invalid header name {name:?}: must be letters, digits and !#$%&'*+-.^_`|~, \
                 1 to {MAX_NAME_BYTES} bytes"
            ),
            Self::Reserved(name) => {
                write!(f, "invalid header name {name:?}: belongs to the connection or the HTTP client")
            }
        }
    }
}

impl std::error::Error for InvalidHeaderName {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for valid in ["webhook-id", "X-Content-SHA256", "Authorization", "a", "!#$%&'*+-.^_`|~9"] {
            assert_eq!(check_name(valid), Ok(()), "{valid}");
        }
        let too_long = "x".repeat(MAX_NAME_BYTES + 1);
        for invalid in ["", "a b", "a:", ":path", "a\r\nb", "é", "a\0", "(a)", &too_long] {
            assert!(matches!(check_name(invalid), Err(InvalidHeaderName::NotAToken(_))), "{invalid:?}");
        }
        for reserved in ["Host", "content-LENGTH", "Transfer-Encoding", "te", "Proxy-Authorization"] {
            assert_eq!(check_name(reserved), Err(InvalidHeaderName::Reserved(reserved.to_owned())));
        }
    }

    #[test]
    fn values() {
        for (value, expected) in
            [("", ""), ("acme", "acme"), ("a b", "a%20b"), ("é\r\n", "%C3%A9%0D%0A"), ("100%", "100%")]
        {
            assert_eq!(escape(value), expected);
        }
    }

    proptest! {
        #[test]
        fn an_escaped_value_is_visible_ascii_and_stays_as_it_is(value: String) {
            let escaped = escape(&value);
            prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(escape(&escaped), &*escaped);
        }
    }
}
