//! What kind of address an address is, for the egress policy: the table of IANA's special-purpose registries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A kind of address that is closed. Displayed, it follows the address: `is private (10.0.0.0/8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Follows "is": `private`, `a documentation address`.
    pub name: &'static str,
    pub network: IpNet,
    /// The IPv4 address inside, if it is the one that is of this class.
    pub carried: Option<Ipv4Addr>,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(v4) = self.carried {
            write!(f, "carries {v4}, which ")?;
        }
        write!(f, "is {} ({})", self.name, self.network)
    }
}

/// The closed class an address is of; `None` is open.
pub(super) fn classify(address: IpAddr) -> Option<Class> {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => {
            let inside = v6.to_ipv4_mapped().or_else(|| carried(v6));
            let closed_inside = inside.and_then(classify_v4).map(|class| Class { carried: inside, ..class });
            closed_inside.or_else(|| classify_v6(v6))
        }
    }
}

const fn v4(name: &'static str, address: [u8; 4], prefix: u8) -> (&'static str, Ipv4Net) {
    let [a, b, c, d] = address;
    (name, Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(name: &'static str, address: [u16; 8], prefix: u8) -> (&'static str, Ipv6Net) {
    let [a, b, c, d, e, f, g, h] = address;
    (name, Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}

/// Closed IPv4 networks; the first that holds an address names it. Anything else is global.
const CLOSED_V4: &[(&str, Ipv4Net)] = &[
    v4("a cloud metadata address", [169, 254, 169, 254], 32),
    // Azure's wire server: a public address that answers inside every Azure machine.
    v4("a cloud metadata address", [168, 63, 129, 16], 32),
    // Alibaba Cloud.
    v4("a cloud metadata address", [100, 100, 100, 200], 32),
    v4("an address of this network", [0, 0, 0, 0], 8),
    v4("private", [10, 0, 0, 0], 8),
    v4("shared (CGNAT)", [100, 64, 0, 0], 10),
    v4("loopback", [127, 0, 0, 0], 8),
    v4("link-local", [169, 254, 0, 0], 16),
    v4("private", [172, 16, 0, 0], 12),
    v4("reserved for IETF protocols", [192, 0, 0, 0], 24),
    v4("a documentation address", [192, 0, 2, 0], 24),
    v4("a 6to4 relay", [192, 88, 99, 0], 24),
    v4("private", [192, 168, 0, 0], 16),
    v4("a benchmarking address", [198, 18, 0, 0], 15),
    v4("a documentation address", [198, 51, 100, 0], 24),
    v4("a documentation address", [203, 0, 113, 0], 24),
    v4("multicast", [224, 0, 0, 0], 4),
    v4("broadcast", [255, 255, 255, 255], 32),
    v4("reserved", [240, 0, 0, 0], 4),
];

/// Closed IPv6 networks; the first that holds an address names it. Of the rest, only 2000::/3 is open.
const CLOSED_V6: &[(&str, Ipv6Net)] = &[
    v6("unspecified", [0, 0, 0, 0, 0, 0, 0, 0], 128),
    v6("loopback", [0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6("IPv4-compatible", [0, 0, 0, 0, 0, 0, 0, 0], 96),
    v6("IPv4-translated", [0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
    v6("a local NAT64 address", [0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    v6("discard-only", [0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    v6("a Teredo address", [0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
    v6("a benchmarking address", [0x2001, 2, 0, 0, 0, 0, 0, 0], 48),
    v6("an ORCHID", [0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28),
    v6("an ORCHID", [0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28),
    v6("reserved for IETF protocols", [0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6("a documentation address", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6("a 6to4 address", [0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6("a documentation address", [0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    v6("a segment-routing identifier", [0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
    // Amazon's and Google's.
    v6("a cloud metadata address", [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    v6("a cloud metadata address", [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    v6("unique-local", [0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6("link-local", [0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6("site-local", [0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
    v6("multicast", [0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

const NAT64: (&str, Ipv6Net) = v6("NAT64", [0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const GLOBAL: (&str, Ipv6Net) = v6("outside global unicast", [0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

fn classify_v4(address: Ipv4Addr) -> Option<Class> {
    let &(name, network) = CLOSED_V4.iter().find(|(_, network)| network.contains(&address))?;
    Some(Class { name, network: IpNet::V4(network), carried: None })
}

/// By what it is itself; [`carried`] looks inside.
fn classify_v6(address: Ipv6Addr) -> Option<Class> {
    if address.to_ipv4_mapped().is_some() || NAT64.1.contains(&address) {
        return None;
    }
    let outside = (!GLOBAL.1.contains(&address)).then_some(&GLOBAL);
    let &(name, network) = CLOSED_V6.iter().find(|(_, network)| network.contains(&address)).or(outside)?;
    Some(Class { name, network: IpNet::V6(network), carried: None })
}

/// The IPv4 address a packet to this address may end up at: NAT64 (RFC 6052 section 2.1), and ISATAP's interface
/// identifier `0:5efe` or `200:5efe` (RFC 5214 section 6.1), which any network may hold.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, _, _, _, e, f, g, h] = address.segments();
    let isatap = e & !0x0200 == 0 && f == 0x5efe;
    let [[a, b], [c, d]] = [g.to_be_bytes(), h.to_be_bytes()];
    (isatap || NAT64.1.contains(&address)).then(|| Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn closed_addresses_and_why() {
        // First and last address, and what is said of both.
        let table = [
            ("0.0.0.0", "0.255.255.255", "is an address of this network (0.0.0.0/8)"),
            ("10.0.0.0", "10.255.255.255", "is private (10.0.0.0/8)"),
            ("100.64.0.0", "100.127.255.255", "is shared (CGNAT) (100.64.0.0/10)"),
            ("100.100.100.200", "100.100.100.200", "is a cloud metadata address (100.100.100.200/32)"),
            ("127.0.0.0", "127.255.255.255", "is loopback (127.0.0.0/8)"),
            ("168.63.129.16", "168.63.129.16", "is a cloud metadata address (168.63.129.16/32)"),
            ("169.254.0.0", "169.254.255.255", "is link-local (169.254.0.0/16)"),
            ("169.254.169.254", "169.254.169.254", "is a cloud metadata address (169.254.169.254/32)"),
            ("172.16.0.0", "172.31.255.255", "is private (172.16.0.0/12)"),
            ("192.0.0.0", "192.0.0.255", "is reserved for IETF protocols (192.0.0.0/24)"),
            ("192.0.2.0", "192.0.2.255", "is a documentation address (192.0.2.0/24)"),
            ("192.88.99.0", "192.88.99.255", "is a 6to4 relay (192.88.99.0/24)"),
            ("192.168.0.0", "192.168.255.255", "is private (192.168.0.0/16)"),
            ("198.18.0.0", "198.19.255.255", "is a benchmarking address (198.18.0.0/15)"),
            ("198.51.100.0", "198.51.100.255", "is a documentation address (198.51.100.0/24)"),
            ("203.0.113.0", "203.0.113.255", "is a documentation address (203.0.113.0/24)"),
            ("224.0.0.0", "239.255.255.255", "is multicast (224.0.0.0/4)"),
            ("240.0.0.0", "255.255.255.254", "is reserved (240.0.0.0/4)"),
            ("255.255.255.255", "255.255.255.255", "is broadcast (255.255.255.255/32)"),
            ("::", "::", "is unspecified (::/128)"),
            ("::1", "::1", "is loopback (::1/128)"),
            ("::2", "::255.255.255.255", "is IPv4-compatible (::/96)"),
            ("::127.0.0.1", "::8.8.8.8", "is IPv4-compatible (::/96)"),
            ("::1:0:0", "::fffe:ffff:ffff", "is outside global unicast (2000::/3)"),
            ("::ffff:0:7f00:1", "::ffff:0:808:808", "is IPv4-translated (::ffff:0:0:0/96)"),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:808:808", "is a local NAT64 address (64:ff9b:1::/48)"),
            ("64:ff9b::1:0:0", "64:ff9b:0:ffff::", "is outside global unicast (2000::/3)"),
            ("100::", "100::ffff:ffff:ffff:ffff", "is discard-only (100::/64)"),
            ("100:0:0:1::", "1fff:ffff::", "is outside global unicast (2000::/3)"),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "is a Teredo address (2001::/32)"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:7f00:1::", "is a Teredo address (2001::/32)"),
            ("2001:1::", "2001:1ff:ffff::", "is reserved for IETF protocols (2001::/23)"),
            ("2001:2::", "2001:2:0:ffff::", "is a benchmarking address (2001:2::/48)"),
            ("2001:10::", "2001:1f:ffff::", "is an ORCHID (2001:10::/28)"),
            ("2001:20::", "2001:2f:ffff::", "is an ORCHID (2001:20::/28)"),
            ("2001:db8::", "2001:db8:ffff::", "is a documentation address (2001:db8::/32)"),
            ("2002::", "2002:ffff:ffff::", "is a 6to4 address (2002::/16)"),
            ("2002:7f00:1::", "2002:808:808::1", "is a 6to4 address (2002::/16)"),
            ("3fff::", "3fff:fff:ffff::", "is a documentation address (3fff::/20)"),
            ("4000::", "5eff::", "is outside global unicast (2000::/3)"),
            ("5f00::", "5f00:ffff::", "is a segment-routing identifier (5f00::/16)"),
            ("5f01::", "fbff::", "is outside global unicast (2000::/3)"),
            ("fc00::", "fdff:ffff::", "is unique-local (fc00::/7)"),
            ("fd00:ec2::254", "fd00:ec2::254", "is a cloud metadata address (fd00:ec2::254/128)"),
            ("fd20:ce::254", "fd20:ce::254", "is a cloud metadata address (fd20:ce::254/128)"),
            ("fe00::", "fe7f:ffff::", "is outside global unicast (2000::/3)"),
            ("fe80::", "febf:ffff::", "is link-local (fe80::/10)"),
            ("fec0::", "feff:ffff::", "is site-local (fec0::/10)"),
            ("ff00::", "ffff:ffff::", "is multicast (ff00::/8)"),
            ("::ffff:10.0.0.1", "::ffff:a00:1", "carries 10.0.0.1, which is private (10.0.0.0/8)"),
            (
                "::ffff:0.0.0.0",
                "::ffff:0:0",
                "carries 0.0.0.0, which is an address of this network (0.0.0.0/8)",
            ),
            ("64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "carries 127.0.0.1, which is loopback (127.0.0.0/8)"),
            (
                "2600::5efe:10.0.0.1",
                "2600::200:5efe:a00:1",
                "carries 10.0.0.1, which is private (10.0.0.0/8)",
            ),
            (
                "fe80::5efe:10.0.0.1",
                "fe80::200:5efe:a00:1",
                "carries 10.0.0.1, which is private (10.0.0.0/8)",
            ),
            ("fe80::5efe:8.8.8.8", "fe80::200:5efe:808:808", "is link-local (fe80::/10)"),
        ];
        for (first, last, why) in table {
            for text in [first, last] {
                let address = address(text);
                let said = classify(address).unwrap().to_string();
                assert_eq!(said, why, "{address}");
            }
        }
    }

    #[test]
    fn open_addresses() {
        for text in [
            "1.0.0.0",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1111",
            "3fff:1000::",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2600::5efe:8.8.8.8",
            "2600::100:5efe:10.0.0.1",
            "2600::5eff:10.0.0.1",
        ] {
            assert_eq!(classify(address(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn ipv4_agrees_with_the_standard_library(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast() || v4.is_documentation()
                || v4.is_multicast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240 {
                prop_assert!(classify(v4.into()).is_some());
            }
        }

        #[test]
        fn forms_that_carry_ipv4_are_no_way_round(bits in any::<u32>(), prefix in any::<u64>(), local in any::<bool>()) {
            let closed = |address: IpAddr| classify(address).is_some();
            let v4 = Ipv4Addr::from(bits);
            let low = u128::from(bits);
            prop_assert_eq!(closed(v4.to_ipv6_mapped().into()), closed(v4.into()));
            prop_assert_eq!(closed(Ipv6Addr::from((0x64_ff9b_u128 << 96) | low).into()), closed(v4.into()));
            let isatap = Ipv6Addr::from((u128::from(prefix) << 64) | (u128::from(local) << 57) | (0x5efe << 32) | low);
            prop_assert!(closed(isatap.into()) || !closed(v4.into()));
        }

        #[test]
        fn ipv6_outside_global_unicast_is_closed(bits in any::<u128>()) {
            let v6 = Ipv6Addr::from(bits);
            if bits >> 125 != 1 && bits >> 32 != 0xffff && bits >> 32 != 0x64_ff9b << 64 {
                prop_assert!(classify(v6.into()).is_some());
            }
        }
    }
}
