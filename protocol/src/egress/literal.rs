//! Hosts that are addresses in disguise, for the worker.

use std::net::{IpAddr, Ipv6Addr};

use ::url::Host;

/// Reads a host that is an address, in any spelling: IPv6 with or without brackets and zone, and IPv4 as URL parsers and
/// `inet_aton` take it (`2130706433`, `0x7f.1`, `0177.0.0.1`, `127.1`, `127.0.0.1.`, digits of other scripts, `%31`).
/// `None` is a name, or nothing that can be dialled.
///
/// An HTTP client dials such a host without asking its resolver, so a policy applied in the resolver would not see it.
pub fn literal_host(host: &str) -> Option<IpAddr> {
    // inet_aton stops at white space.
    let host = host.split_whitespace().next()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let unzoned = bare.split_once('%').map_or(bare, |(address, _zone)| address);
    if let Ok(v6) = unzoned.parse::<Ipv6Addr>() {
        return Some(IpAddr::V6(v6));
    }
    match Host::parse(bare).ok()? {
        Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
        Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literal_hosts() {
        let check = |host, expect: Option<&str>| {
            assert_eq!(literal_host(host), expect.map(|text| text.parse::<IpAddr>().unwrap()), "{host:?}")
        };
        for loopback in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "2130706433.",
            "0x7f000001",
            "0X7F000001",
            "0x7f.1",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "0177.1",
            "017700000001",
            "0x7f.0.1",
            "127.0x0.00.0x1",
            "00000177.0.0.1",
            "127.0.0.0x000000001",
            "127。0。0。1",
            "127.0.0.1",
            "①②⑦.0.0.1",
            "%31%32%37.0.0.1",
            "127%2e0%2e0%2e1",
            " 127.0.0.1 ",
            "127.0.0.1 example.com",
            "[127.0.0.1]",
        ] {
            check(loopback, Some("127.0.0.1"));
        }
        for loopback in
            ["::1", "[::1]", "0:0:0:0:0:0:0:1", "[0000::0001]", "::1%lo", "[::1%25lo]", "::0.0.0.1"]
        {
            check(loopback, Some("::1"));
        }
        check("0", Some("0.0.0.0"));
        check("0x", Some("0.0.0.0"));
        check("4294967295", Some("255.255.255.255"));
        check("169.0xfea9fe", Some("169.254.169.254"));
        check("::ffff:127.0.0.1", Some("::ffff:127.0.0.1"));
        check("[::FFFF:7f00:1]", Some("::ffff:127.0.0.1"));
        check("fe80::1%eth0", Some("fe80::1"));
        for name in [
            "",
            ".",
            " ",
            "[]",
            "[",
            "example.com",
            "localhost",
            "1.example",
            "127.0.0.1.example.com",
            "4294967296",
            "256.0.0.1",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.16777216",
            "08.0.0.1",
            "0xg",
            "127..1",
            "127.0.0.1..",
            "-1",
            "1e3",
            "::g",
            "1::2::3",
            "[::1",
            "abc%zz",
            "0x7f000001.example",
        ] {
            check(name, None);
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_ipv4_is_read(bits in any::<u32>(), parts in 1usize..=4, radix in any::<[u8; 4]>(), dot in any::<bool>()) {
            let octets = bits.to_be_bytes();
            let last = bits & u32::MAX.checked_shr(8 * (parts as u32 - 1)).unwrap_or(0);
            let numbers = octets[..parts - 1].iter().map(|&octet| u32::from(octet)).chain([last]);
            let mut host = numbers.zip(radix).map(|(number, radix)| match radix % 4 {
                0 => format!("{number}"),
                1 => format!("0{number:o}"),
                2 => format!("0x{number:x}"),
                _ => format!("0X000{number:X}"),
            }).collect::<Vec<_>>().join(".");
            if dot {
                host.push('.');
            }
            prop_assert_eq!(literal_host(&host), Some(IpAddr::from(octets)));
        }
    }
}
