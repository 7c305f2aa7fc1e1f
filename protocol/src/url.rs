//! Which URLs an endpoint may have, for the extension that stores them and the worker that calls them. Where a host's
//! addresses may be is another question: `egress` answers it when they are known.

use std::fmt;

use ::url::{Host, ParseError, Url};

/// The longest URL, in characters.
pub const MAX_CHARACTERS: usize = 2048;

/// Checks an endpoint's URL: an absolute https URL, or http with `allow_http`, that has a host and carries neither
/// credentials nor a fragment.
///
/// It is read by the WHATWG URL parser that reads it again to dial. That parser forgives much (`https:/host`, `\` for
/// `/`, new lines and `%65` in a host name): where it would quietly look elsewhere than a person reading the URL, the URL
/// is refused.
pub fn check(text: &str, allow_http: bool) -> Result<(), InvalidUrl> {
    if text.chars().nth(MAX_CHARACTERS).is_some() {
        return Err(InvalidUrl::TooLong);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(InvalidUrl::Whitespace);
    }
    if text.contains('\\') {
        return Err(InvalidUrl::Backslash);
    }
    let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::NotAbsolute)?;
    let https = scheme.eq_ignore_ascii_case("https");
    if !https && !scheme.eq_ignore_ascii_case("http") {
        return Err(InvalidUrl::Scheme);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The parser drops empty credentials (`https://@host`): the text tells.
    if authority.contains('@') {
        return Err(InvalidUrl::Credentials);
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(InvalidUrl::NoHost);
    }
    if authority.contains('%') {
        return Err(InvalidUrl::Host);
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => InvalidUrl::Port,
        ParseError::EmptyHost => InvalidUrl::NoHost,
        _ => InvalidUrl::Host,
    })?;
    match url.host() {
        Some(Host::Domain(name)) if !is_name(name) => return Err(InvalidUrl::Host),
        Some(_) => {}
        None => return Err(InvalidUrl::NoHost),
    }
    if url.port() == Some(0) {
        return Err(InvalidUrl::Port);
    }
    if url.fragment().is_some() {
        return Err(InvalidUrl::Fragment);
    }
    if !https && !allow_http {
        return Err(InvalidUrl::NotHttps);
    }
    Ok(())
}

/// The rule a URL breaks. The text leaves the URL out: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUrl {
    TooLong,
    Whitespace,
    Backslash,
    NotAbsolute,
    Scheme,
    Credentials,
    NoHost,
    Host,
    Port,
    Fragment,
    NotHttps,
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => return write!(f, "it must have at most {MAX_CHARACTERS} characters"),
            Self::Whitespace => "it must have no white space or control character",
            Self::Backslash => "it must have no backslash",
            Self::NotAbsolute => "it must be absolute, with scheme and host",
            Self::Scheme => "its scheme must be http or https",
            Self::Credentials => "it must carry no user name or password",
            Self::NoHost => "it must have a host",
            Self::Host => "its host must be an address or a name that can be looked up",
            Self::Port => "its port must be 1 to 65535",
            Self::Fragment => "it must have no fragment (#)",
            Self::NotHttps => "its scheme must be https",
        })
    }
}

impl std::error::Error for InvalidUrl {}

/// Can DNS hold it? Labels of 1 to 63 bytes, at most 253 in all, the root's dot aside (RFC 1035 section 2.3.4).
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_urls() {
        for good in [
            "https://example.com",
            "https://example.com/",
            "https://example.com./hooks",
            "HTTPS://EXAMPLE.com/Hooks?team=a&b=%20",
            "https://example.com:/",
            "https://example.com:8443/hooks",
            "https://example.com:1/",
            "https://example.com:65535/",
            "https://example.com:443",
            "https://sub.example.co.uk/a/b;c=d/e@f:g",
            "https://example.com?to=a@b.example",
            "https://example.com/a://b",
            "https://my_service.internal/",
            "https://localhost/",
            "https://bücher.example/straße",
            "https://xn--bcher-kva.example/",
            "https://192.0.2.1/",
            "https://[2001:db8::1]/",
            "https://[2001:db8::1]:8443/",
        ] {
            assert_eq!(check(good, false), Ok(()), "{good}");
            let http = good.replacen("https", "http", 1).replacen("HTTPS", "HTTP", 1);
            assert_eq!(check(&http, true), Ok(()), "{http}");
            assert_eq!(check(&http, false), Err(InvalidUrl::NotHttps), "{http}");
        }
    }

    #[test]
    fn bad_urls() {
        use InvalidUrl::*;
        let table: &[(&str, InvalidUrl)] = &[
            ("", NotAbsolute),
            ("example.com/hooks", NotAbsolute),
            ("/hooks", NotAbsolute),
            ("//example.com/hooks", NotAbsolute),
            ("https:example.com", NotAbsolute),
            ("https:/example.com", NotAbsolute),
            ("mailto:a@example.com", NotAbsolute),
            ("ftp://example.com/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://example.com/", Scheme),
            ("httpss://example.com/", Scheme),
            ("://example.com/", Scheme),
            ("javascript://example.com/%0aalert(1)", Scheme),
            ("example.com/?u=https://example.com", Scheme),
            (" https://example.com/", Whitespace),
            ("https://example.com/ ", Whitespace),
            ("https://exa mple.com/", Whitespace),
            ("https://example.com/a\tb", Whitespace),
            ("https://exam\nple.com/", Whitespace),
            ("https://example.com/\r\nX-Evil: 1", Whitespace),
            ("https://example.com/\0", Whitespace),
            ("https://example.com/\u{7f}", Whitespace),
            ("https://example.com/\u{85}", Whitespace),
            ("https://example.com/\u{a0}", Whitespace),
            ("https://example.com/\u{3000}", Whitespace),
            ("https://example.com\\@evil.example/", Backslash),
            ("https:\\\\example.com", Backslash),
            ("https://user@example.com/", Credentials),
            ("https://user:password@example.com/", Credentials),
            ("https://:password@example.com/", Credentials),
            ("https://@example.com/", Credentials),
            ("https://:@example.com/", Credentials),
            ("https://a@b@example.com/", Credentials),
            ("https://", NoHost),
            ("https:///hooks", NoHost),
            ("https:////example.com", NoHost),
            ("https://?a", NoHost),
            ("https://#a", NoHost),
            ("https://:443/", NoHost),
            ("https://./", Host),
            ("https://a..b/", Host),
            ("https://.example.com/", Host),
            ("https://example.com../", Host),
            ("https://exa%20mple.com/", Host),
            ("https://exa<mple.com/", Host),
            ("https://exa^mple.com/", Host),
            ("https://%/", Host),
            ("https://%65xample.com/", Host),
            ("https://256.1.1.1/", Host),
            ("https://1.2.3.4.5/", Host),
            ("https://0x100000000/", Host),
            ("https://[::1/", Host),
            ("https://[::g]/", Host),
            ("https://[fe80::1%25eth0]/", Host),
            ("https://example.com:0/", Port),
            ("https://example.com:65536/", Port),
            ("https://example.com:99999999999/", Port),
            ("https://example.com:-1/", Port),
            ("https://example.com:http/", Port),
            ("https://2001:db8::1/", Port),
            ("https://example.com/#", Fragment),
            ("https://example.com/#part", Fragment),
            ("https://example.com#part", Fragment),
        ];
        for &(bad, expect) in table {
            assert_eq!(check(bad, false), Err(expect), "{bad:?}");
            assert_eq!(check(bad, true), Err(expect), "{bad:?}");
        }
    }

    #[test]
    fn lengths() {
        let of_length = |n| format!("https://example.com/{}", "é".repeat(n - "https://example.com/".len()));
        assert_eq!(check(&of_length(2048), false), Ok(()));
        assert_eq!(check(&of_length(2049), false), Err(InvalidUrl::TooLong));
        assert_eq!(check(&format!("https://{}.example/", "a".repeat(63)), false), Ok(()));
        assert_eq!(check(&format!("https://{}.example/", "a".repeat(64)), false), Err(InvalidUrl::Host));
        assert_eq!(check(&format!("https://{}", "a.".repeat(127)), false), Ok(()));
        assert_eq!(check(&format!("https://{}b", "a.".repeat(127)), false), Err(InvalidUrl::Host));
    }

    #[test]
    fn the_message_keeps_the_password_to_itself() {
        let error = check("https://user:hunter2@example.com/", false).unwrap_err();
        assert_eq!(error.to_string(), "it must carry no user name or password");
    }

    proptest! {
        #[test]
        fn what_passes_is_dialled_as_it_reads(text in "(https?|HTTP|ftp)?(:|//|/){0,3}[ -~é。]{0,30}") {
            if check(&text, true).is_ok() {
                let url = Url::parse(&text).unwrap();
                prop_assert!(matches!(url.scheme(), "http" | "https"));
                prop_assert!(url.has_host() && url.username().is_empty() && url.password().is_none());
                prop_assert!(url.fragment().is_none() && url.port() != Some(0));
                prop_assert!(check(url.as_str(), true).is_ok() || url.as_str().len() > MAX_CHARACTERS);
            }
        }
    }
}
