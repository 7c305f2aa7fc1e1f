//! Looks hosts up, and lets through only addresses that may be called: what is dialled is what was checked.

use super::phase::{Phase, enter};
use super::source::fits;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use protocol::egress::{EgressPolicy, Refusal};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[derive(Clone)]
pub struct Resolver {
    lookup: Lookup,
    policy: Arc<EgressPolicy>,
    source: Option<IpAddr>,
    /// Of a proxy: whatever address it has may be dialled.
    trusting: bool,
}

#[derive(Clone)]
enum Lookup {
    System,
    Server(Arc<TokioResolver>),
}

/// Why a host has no address to dial.
#[derive(Debug)]
pub enum NoAddress {
    Dns(String),
    Refused(Refusal),
    /// None of the family that requests come from.
    FitsNoSource(IpAddr),
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAddress::Dns(problem) => write!(f, "dns: {problem}"),
            NoAddress::Refused(refusal) => write!(f, "refused address: {refusal}"),
            NoAddress::FitsNoSource(source) => {
                write!(f, "connect: the host has no address of the family of --bind-address {source}")
            }
        }
    }
}

impl std::error::Error for NoAddress {}

impl Resolver {
    pub fn new(policy: Arc<EgressPolicy>, dns_server: Option<SocketAddr>) -> Result<Resolver, String> {
        let lookup = match dns_server {
            None => Lookup::System,
            Some(server) => Lookup::Server(Arc::new(ask_only(server)?)),
        };
        Ok(Resolver { lookup, policy, source: None, trusting: false })
    }

    /// For connections from this source address.
    pub fn dialling(&self, source: Option<IpAddr>, trusting: bool) -> Resolver {
        Resolver { source, trusting, ..self.clone() }
    }

    pub async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, NoAddress> {
        enter(Phase::LookingUp);
        let found = match &self.lookup {
            Lookup::System => tokio::net::lookup_host((host, 0))
                .await
                .map_err(|error| NoAddress::Dns(system_text(&error)))?
                .map(|address| address.ip())
                .collect(),
            Lookup::Server(resolver) => {
                // Absolute: this machine's search domains are none of the endpoint's.
                let name = if host.ends_with('.') { host.to_owned() } else { format!("{host}.") };
                let answer =
                    resolver.lookup_ip(name).await.map_err(|error| NoAddress::Dns(server_text(&error)))?;
                answer.iter().collect()
            }
        };
        Ok(found)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, NoAddress> {
        let found = self.look_up(host).await?;
        let mut addresses = if self.trusting { at_no_port(&found) } else { permitted(&self.policy, &found)? };
        addresses.retain(|address| fits(self.source, address.ip()));
        match self.source {
            Some(source) if addresses.is_empty() => Err(NoAddress::FitsNoSource(source)),
            _ => Ok(addresses),
        }
    }
}

/// The connector puts the URL's port in.
fn at_no_port(found: &[IpAddr]) -> Vec<SocketAddr> {
    found.iter().map(|address| SocketAddr::new(*address, 0)).collect()
}

fn permitted(policy: &EgressPolicy, found: &[IpAddr]) -> Result<Vec<SocketAddr>, NoAddress> {
    let mut refused = None;
    let mut passed = Vec::with_capacity(found.len());
    for address in found {
        match policy.check(*address) {
            Ok(()) => passed.push(*address),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    match refused {
        Some(refusal) if passed.is_empty() => Err(NoAddress::Refused(refusal)),
        None if passed.is_empty() => Err(NoAddress::Dns("the host has no address".to_owned())),
        _ => Ok(at_no_port(&passed)),
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            enter(Phase::Connecting);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn ask_only(server: SocketAddr) -> Result<TokioResolver, String> {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let servers = vec![NameServerConfig::new(server.ip(), true, connections)];
    let config = ResolverConfig::from_parts(None, vec![], servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|error| format!("--dns-server can't be used: {error}"))
}

/// `failed to lookup address information: Name or service not known`
fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_lowercase()
}

fn server_text(error: &NetError) -> String {
    if error.is_nx_domain() {
        "the host does not exist".to_owned()
    } else if error.is_no_records_found() {
        "the host has no address".to_owned()
    } else {
        error.to_string().to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permitted_addresses_pass() {
        let policy = EgressPolicy::new(vec![]);
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let passed = permitted(&policy, &[parse("10.0.0.1"), parse("93.184.216.34")]).unwrap();
        assert_eq!(passed, ["93.184.216.34:0".parse().unwrap()]);
        let refused = permitted(&policy, &[parse("127.0.0.1"), parse("10.0.0.1")]).unwrap_err();
        assert!(refused.to_string().starts_with("refused address: 127.0.0.1 is loopback"), "{refused}");
        assert!(permitted(&policy, &[]).unwrap_err().to_string().starts_with("dns: "));
    }
}
