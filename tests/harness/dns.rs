//! A DNS server on loopback that answers as the test says.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;

#[derive(Clone, Debug)]
pub enum Record {
    Address(IpAddr),
    Alias(String),
}

impl Record {
    /// An address if the text is one, else another name for the name.
    pub fn new(text: &str) -> Record {
        text.parse().map_or_else(|_| Record::Alias(text.to_owned()), Record::Address)
    }
}

type Asked = Arc<Mutex<HashMap<String, usize>>>;

pub struct DnsServer {
    port: u16,
    asked: Asked,
    server: tokio::task::JoinHandle<()>,
}

const CNAME: u16 = 5;
/// Aliases that are followed for one question.
const CHAIN: usize = 8;

impl DnsServer {
    /// `zone` gives all records of a name (without its last dot), and how often its addresses were asked for before.
    pub async fn start(zone: impl Fn(&str, usize) -> Vec<Record> + Send + 'static) -> DnsServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = socket.local_addr().expect("an address").port();
        let asked = Asked::default();
        let seen = asked.clone();
        let server = tokio::spawn(async move {
            let mut times: HashMap<(String, u16), usize> = HashMap::new();
            let mut packet = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                let Some((name, kind, end)) = question(&packet[..length]) else { continue };
                let before = times.entry((name.clone(), kind)).or_insert(0);
                let answer = answer(&packet[..end], &name, kind, |name| zone(name, *before));
                *before += 1;
                seen.lock().expect("no panic while locked").insert(name, *before);
                let _ = socket.send_to(&answer, client).await;
            }
        });
        DnsServer { port, asked, server }
    }

    /// For `--dns-server`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How often a name's addresses have been asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.asked.lock().expect("no panic while locked").get(name).copied().unwrap_or(0)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Name, type and end of a packet's question (RFC 1035, 4.1).
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, at + 4))
}

fn answer(asked: &[u8], name: &str, kind: u16, zone: impl Fn(&str) -> Vec<Record>) -> Vec<u8> {
    let (mut answers, mut count, mut known) = (Vec::new(), 0u16, false);
    let mut owner = name.to_owned();
    for _ in 0..CHAIN {
        let mut alias = None;
        for record in zone(&owner) {
            known = true;
            let (record_kind, data) = match record {
                Record::Address(IpAddr::V4(v4)) => (1, v4.octets().to_vec()),
                Record::Address(IpAddr::V6(v6)) => (28, v6.octets().to_vec()),
                Record::Alias(name) => (CNAME, encoded(alias.insert(name))),
            };
            if record_kind == kind || record_kind == CNAME {
                answers.extend(encoded(&owner));
                answers.extend(record_kind.to_be_bytes());
                // Class IN, and nothing may be cached.
                answers.extend([0, 1, 0, 0, 0, 0]);
                answers.extend(u16::try_from(data.len()).expect("a short record").to_be_bytes());
                answers.extend(data);
                count += 1;
            }
        }
        match alias {
            Some(name) => owner = name,
            None => break,
        }
    }
    let mut packet = asked.to_vec();
    // An answer, recursion available; NXDOMAIN where nothing is known.
    packet[2] = 0x81;
    packet[3] = if known { 0x80 } else { 0x83 };
    packet[6..8].copy_from_slice(&count.to_be_bytes());
    packet[8..12].fill(0);
    packet.extend(answers);
    packet
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
