//! The HTTP clients of one arbiter: their connections live on that arbiter's thread.

use super::certificates::Certificates;
use super::certified::Certified;
use super::destination::Destination;
use super::phase::{Phase, enter};
use super::proxy::Proxy;
use super::resolver::Resolver;
use super::source::{SourceAddresses, fits};
use super::{connections, fault};
use crate::cli::Run;
use bytes::Bytes;
use protocol::egress::EgressPolicy;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Request, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Connections that nothing was sent on for so long are closed: receivers and load balancers do so after a minute or
/// more, and a request on a connection just closed by the other side would be lost.
const IDLE: Duration = Duration::from_secs(45);
/// Kept per host beyond those in use.
const IDLE_CONNECTIONS: usize = 64;
/// Of an answer: more is refused by the parser.
const MOST_HEADERS: usize = 256;
/// Of an answer over HTTP/2, all headers together; over HTTP/1.1 the parser has its own limit, some 400 KiB.
const HEAD_BYTES: u32 = 32 << 10;

/// What all arbiters' clients have in common.
pub struct Settings {
    policy: Arc<EgressPolicy>,
    dns_server: Option<SocketAddr>,
    sources: SourceAddresses,
    proxy: Option<Proxy>,
    pub(super) roots: RootCertStore,
    pub(super) certificate_dir: Option<PathBuf>,
}

/// One for each source address there is.
pub(super) type Clients = Arc<[(Option<IpAddr>, Client)]>;

#[derive(Clone)]
pub struct Http {
    settings: Arc<Settings>,
    resolver: Resolver,
    clients: Clients,
    certified: Arc<Mutex<Certified>>,
}

impl Settings {
    pub fn read(
        options: &Run,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Arc<Settings>, String> {
        connections::listen();
        let proxy = match &options.proxy {
            Some(url) => Some(Proxy::read(url, options.proxy_credentials_file.as_deref(), environment)?),
            None => None,
        };
        if let Some(folder) = options.certificate_dir.as_deref().filter(|folder| !folder.is_dir()) {
            return Err(format!("--certificate-dir {}: there is no such folder", folder.display()));
        }
        Ok(Arc::new(Settings {
            policy: Arc::new(EgressPolicy::new(options.allow_network.clone())),
            dns_server: options.dns_server,
            sources: SourceAddresses::new(&options.bind_address)?,
            proxy,
            roots: roots(options.ca_file.as_deref())?,
            certificate_dir: options.certificate_dir.clone(),
        }))
    }

    /// For one arbiter.
    pub fn http(self: &Arc<Settings>) -> Result<Http, String> {
        let resolver = Resolver::new(self.policy.clone(), self.dns_server)?;
        let mut tls =
            ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        tls.alpn_protocols = protocols();
        let clients = self.clients(&tls, &resolver)?;
        Ok(Http { settings: self.clone(), resolver, clients, certified: Arc::default() })
    }

    pub(super) fn clients(&self, tls: &ClientConfig, resolver: &Resolver) -> Result<Clients, String> {
        self.sources
            .each()
            .into_iter()
            .map(|source| Ok((source, self.client(tls, resolver, source)?)))
            .collect()
    }

    fn client(
        &self,
        tls: &ClientConfig,
        resolver: &Resolver,
        source: Option<IpAddr>,
    ) -> Result<Client, String> {
        // A proxy is all that is dialled then, and trusted: the operator named it.
        let resolver = resolver.dialling(source, self.proxy.is_some());
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .dns_resolver(resolver)
            .local_address(source)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_headers(MOST_HEADERS)
            .http2_max_header_list_size(HEAD_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            // See connections.rs.
            .connection_verbose(true);
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.for_client()?);
        }
        builder.build().map_err(|error| format!("the http client can't be set up: {error}"))
    }
}

/// What is trusted for all: the system's certificates, and those of `ca_file`.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(file) = ca_file {
        let failed = |problem: String| format!("--ca-file {}: {problem}", file.display());
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(error.to_string()))?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(failed("no certificate in it can be used".to_owned()));
        }
    }
    if roots.is_empty() {
        tracing::warn!(
            "this system trusts no certificate, so every https endpoint will be refused: install ca-certificates or \
             give --ca-file"
        );
    }
    Ok(roots)
}

pub(super) fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

impl Http {
    /// The answer, or what went wrong in words for the log.
    pub async fn post(
        &self,
        to: &Destination,
        mut headers: HeaderMap,
        body: Bytes,
        certificates: Option<&Certificates>,
    ) -> Result<Response, String> {
        self.check(to).await?;
        let clients = match certificates {
            None => self.clients.clone(),
            Some(names) => self.certified(names)?,
        };
        let dialled = match &self.settings.proxy {
            Some(proxy) => proxy.literal(),
            None => to.literal(),
        };
        let mut fitting = clients
            .iter()
            .filter(|(source, _)| dialled.is_none_or(|address| fits(*source, address)))
            .peekable();
        while let Some((_, client)) = fitting.next() {
            let last = fitting.peek().is_none();
            let mut request = Request::new(Method::POST, to.url().clone());
            *request.headers_mut() = if last { std::mem::take(&mut headers) } else { headers.clone() };
            *request.body_mut() = Some(body.clone().into());
            enter(Phase::Answer);
            match client.execute(request).await {
                Ok(response) => return Ok(response),
                // Nothing was dialled.
                Err(error) if !last && fault::fits_no_source(&error) => {}
                Err(error) => return Err(fault::text(&error)),
            }
        }
        Err("connect: no --bind-address is of the address's family".to_owned())
    }

    fn certified(&self, names: &Certificates) -> Result<Clients, String> {
        let mut certified = self.certified.lock().expect("no holder panics");
        certified.clients(names, &self.settings, &self.resolver, Instant::now())
    }

    /// What the resolver is not asked for: an address is dialled as it is, and a proxy looks names up by itself.
    async fn check(&self, to: &Destination) -> Result<(), String> {
        if let Some(address) = to.literal() {
            return self.permit(address);
        }
        if self.settings.proxy.is_some()
            && let Some(host) = to.url().host_str()
        {
            // Boxed: it is large, and would be part of every attempt's task. What can't be looked up here, the proxy
            // may know.
            let found = Box::pin(self.resolver.look_up(host)).await.unwrap_or_default();
            found.into_iter().try_for_each(|address| self.permit(address))?;
        }
        Ok(())
    }

    fn permit(&self, address: IpAddr) -> Result<(), String> {
        self.settings.policy.check(address).map_err(|refusal| format!("refused address: {refusal}"))
    }
}
