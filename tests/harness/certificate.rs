//! Certificates of a test's own authority, and TLS with them.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::io::Write;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// its own certificate, in PEM
    pub certificate: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for these hosts.
    pub fn certify(&self, hosts: &[&str]) -> Identity {
        self.sign(params(hosts))
    }

    /// One whose time is over.
    pub fn certify_expired(&self, hosts: &[&str]) -> Identity {
        let mut params = params(hosts);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// A file with its certificate, for --ca-file.
    pub fn file(&self) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(self.certificate.as_bytes()).expect("written");
        file
    }
}

impl Identity {
    /// Signed by nobody but itself; `authority` is whether it claims to be one, as what `openssl req -x509` makes does.
    pub fn self_signed(hosts: &[&str], authority: bool) -> Identity {
        let mut params = params(hosts);
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// Both in one file, as --certificate-dir has them.
    pub fn pem(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }

    /// TLS of a server that speaks these protocols (ALPN).
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        self.accept(None, protocols)
    }

    /// The same for a server that lets in only whom this authority has certified.
    pub fn acceptor_for(&self, clients: &Authority, protocols: &[&str]) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(der(&clients.certificate)).expect("it can sign");
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        self.accept(Some(verifier.expect("a verifier")), protocols)
    }

    fn accept(&self, clients: Option<Arc<dyn ClientCertVerifier>>, protocols: &[&str]) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("ring speaks them");
        let config = match clients {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let mut config =
            config.with_single_cert(vec![der(&self.certificate)], key).expect("they belong together");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn der(certificate: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")
}

fn params(hosts: &[&str]) -> CertificateParams {
    let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("hosts");
    params.distinguished_name.push(DnType::CommonName, hosts[0]);
    params
}
