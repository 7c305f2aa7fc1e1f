//! Which addresses of this machine requests come from, for receivers that let in known addresses only.

use std::net::{IpAddr, UdpSocket};

/// At most one of each family. None: the system takes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceAddresses {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl SourceAddresses {
    pub fn new(given: &[IpAddr]) -> Result<SourceAddresses, String> {
        let mut sources = SourceAddresses::default();
        for address in given {
            let wrong = |problem: &str| format!("--bind-address {address}: {problem}");
            let place = if address.is_ipv4() { &mut sources.v4 } else { &mut sources.v6 };
            if address.is_unspecified() {
                return Err(wrong("give an address of this machine, or leave it out"));
            }
            if place.replace(*address).is_some() {
                return Err(wrong("give at most one IPv4 and one IPv6 address"));
            }
            if let Err(error) = UdpSocket::bind((*address, 0)) {
                let text = error.to_string().to_lowercase();
                return Err(wrong(&format!("{text}; give an address of this machine")));
            }
        }
        Ok(sources)
    }

    /// Each takes a client of its own.
    pub fn each(self) -> Vec<Option<IpAddr>> {
        match (self.v4, self.v6) {
            (None, None) => vec![None],
            (v4, v6) => v4.into_iter().chain(v6).map(Some).collect(),
        }
    }
}

/// Can an address be reached from this source?
pub fn fits(source: Option<IpAddr>, address: IpAddr) -> bool {
    source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_of_this_machine_per_family() {
        let read = |text: &str| SourceAddresses::new(&[text.parse().unwrap()]);
        assert_eq!(SourceAddresses::default().each(), [None]);
        assert_eq!(read("127.0.0.2").unwrap().each(), [Some("127.0.0.2".parse().unwrap())]);
        assert!(read("0.0.0.0").unwrap_err().starts_with("--bind-address 0.0.0.0: give an address"));
        assert!(read("192.0.2.1").unwrap_err().ends_with("give an address of this machine"));
        let two = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse().unwrap());
        assert!(SourceAddresses::new(&two).unwrap_err().ends_with("at most one IPv4 and one IPv6 address"));
    }

    #[test]
    fn an_address_is_reached_from_its_own_family() {
        let [v4, v6] = ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert!(fits(None, v4) && fits(None, v6) && fits(Some(v4), v4));
        assert!(!fits(Some(v4), v6) && !fits(Some(v6), v4));
    }
}
