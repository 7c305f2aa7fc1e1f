//! Where an endpoint's requests go, read once and not with every request.

use protocol::egress::literal_host;
use std::net::IpAddr;
use url::Url;

/// A URL, and the address that its host is, if it is one.
#[derive(Debug)]
pub struct Destination {
    url: Url,
    literal: Option<IpAddr>,
}

impl Destination {
    pub fn new(url: Url) -> Destination {
        let literal = url.host_str().and_then(literal_host);
        Destination { url, literal }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Dialled as it is: the resolver is not asked.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        self.literal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_in_any_spelling() {
        let literal = |url: &str| Destination::new(Url::parse(url).unwrap()).literal();
        assert_eq!(literal("http://0x7f.1/hook"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(literal("https://[::1]:8443"), Some("::1".parse().unwrap()));
        assert_eq!(literal("https://example.com"), None);
    }
}
