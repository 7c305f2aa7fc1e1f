//! Which addresses may be called, for the worker: it asks for every address right before it dials, whatever DNS said
//! before, and for every host that is an address itself.
//!
//! Only global unicast is open. What is closed follows IANA's IPv4 and IPv6 special-purpose address registries (RFC 6890,
//! RFC 8190) and adds the addresses at which clouds hand a machine its credentials.

mod class;
mod literal;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use class::Class;
use class::classify;
pub use literal::literal_host;

/// Refuses every address that is not global unicast, except in the networks an administrator has named.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    allowed: Vec<IpNet>,
}

impl EgressPolicy {
    /// `allowed` networks open what they name and nothing else: an IPv4 network its addresses and their IPv4-mapped form
    /// (one and the same to a socket), an IPv6 network its addresses. `::/0` does not open IPv4 through the mapped form.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// May this address be called?
    ///
    /// - An IPv4-mapped address is the IPv4 address it maps, here as in the kernel.
    /// - NAT64 (64:ff9b::/96) and ISATAP addresses pass if the IPv4 address they carry would pass without `allowed`.
    /// - Every other form that carries IPv4 is refused whatever it carries: compatible and translated addresses are not
    ///   global unicast, 6to4 (RFC 7526) and Teredo are dead but for whoever wants to get round a filter.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.allows(address) {
            return Ok(());
        }
        match classify(address) {
            None => Ok(()),
            Some(class) => Err(Refusal { address, class }),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let mapped = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        self.allowed.iter().any(|network| match mapped {
            Some(v4) => network.contains(&v4) || (network.prefix_len() >= 96 && network.contains(&address)),
            None => network.contains(&address),
        })
    }
}

/// An address that must not be called, and why: `10.0.0.1 is private (10.0.0.0/8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub address: IpAddr,
    pub class: Class,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.class)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> EgressPolicy {
        EgressPolicy::new(allowed.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn allowed_networks_open_what_they_name() {
        let check = |allowed: &[&str], text, expect| {
            assert_eq!(policy(allowed).check(address(text)).is_ok(), expect, "{allowed:?} {text}");
        };
        check(&["10.1.0.0/16"], "10.1.2.3", true);
        check(&["10.1.0.0/16"], "10.2.0.0", false);
        check(&["10.1.2.3/16"], "10.1.9.9", true);
        check(&["10.1.0.0/16"], "::ffff:10.1.2.3", true);
        check(&["10.1.0.0/16"], "::ffff:10.2.0.0", false);
        check(&["10.1.0.0/16"], "64:ff9b::10.1.2.3", false);
        check(&["10.1.0.0/16"], "2600::5efe:10.1.2.3", false);
        check(&["10.1.0.0/16"], "::10.1.2.3", false);
        check(&["10.1.0.0/16"], "8.8.8.8", true);
        check(&["fd00::/8", "127.0.0.1/32"], "127.0.0.1", true);
        check(&["fd00::/8", "127.0.0.1/32"], "127.0.0.2", false);
        check(&["fd00::/8", "127.0.0.1/32"], "fd12::1", true);
        check(&["fd00::/8", "127.0.0.1/32"], "fc12::1", false);
        check(&["127.0.0.0/8"], "::1", false);
        check(&["127.0.0.0/8"], "0.0.0.0", false);
        check(&["::1/128"], "127.0.0.1", false);
        check(&["0.0.0.0/0"], "169.254.169.254", true);
        check(&["0.0.0.0/0"], "::1", false);
        check(&["::/0"], "::1", true);
        check(&["::/0"], "10.0.0.1", false);
        check(&["::/0"], "::ffff:10.0.0.1", false);
        check(&["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", true);
        check(&["64:ff9b::/96"], "64:ff9b::10.0.0.1", true);
    }

    #[test]
    fn a_refusal_says_why() {
        let check = |text, expect: &str| {
            assert_eq!(policy(&[]).check(address(text)).unwrap_err().to_string(), expect);
        };
        check("10.0.0.1", "10.0.0.1 is private (10.0.0.0/8)");
        check("::ffff:10.0.0.1", "::ffff:10.0.0.1 carries 10.0.0.1, which is private (10.0.0.0/8)");
    }
}
