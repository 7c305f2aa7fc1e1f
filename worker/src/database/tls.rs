//! How far PostgreSQL's certificate is checked: sslmode as libpq means it.

use super::public_key;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        Ok(match text {
            "disable" => Mode::Disable,
            "allow" => Mode::Allow,
            "prefer" => Mode::Prefer,
            "require" => Mode::Require,
            "verify-ca" => Mode::VerifyCa,
            "verify-full" => Mode::VerifyFull,
            _ => {
                return Err(
                    "sslmode must be disable, allow, prefer, require, verify-ca or verify-full".to_owned()
                );
            }
        })
    }
}

/// Files that a TLS connection to PostgreSQL needs, by libpq's rules.
#[derive(Debug)]
pub struct Material {
    roots: Roots,
    identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug)]
enum Roots {
    None,
    System,
    File(PathBuf),
}

impl Material {
    pub fn new(
        root: Option<String>,
        certificate: Option<String>,
        key: Option<String>,
        directory: &Path,
        mode: Mode,
    ) -> Result<Material, String> {
        let default_root = directory.join("root.crt");
        let roots = match root.as_deref() {
            Some("system") => Roots::System,
            Some(file) => Roots::File(PathBuf::from(file)),
            None if default_root.exists() => Roots::File(default_root),
            None if matches!(mode, Mode::VerifyCa | Mode::VerifyFull) => {
                return Err(format!(
                    "sslmode verifies the server but there is no root certificate: give sslrootcert, or \
                     sslrootcert=system for what the system trusts, or put one at {}",
                    default_root.display()
                ));
            }
            None => Roots::None,
        };
        let certificate = certificate.map_or_else(|| directory.join("postgresql.crt"), PathBuf::from);
        let key = key.map_or_else(|| directory.join("postgresql.key"), PathBuf::from);
        let identity = (certificate.exists() && key.exists()).then_some((certificate, key));
        Ok(Material { roots, identity })
    }

    /// The configuration for a mode that uses TLS.
    pub fn config(&self, mode: Mode) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder();
        let provider = builder.crypto_provider().clone();
        // libpq: `require` with a root certificate at hand is `verify-ca`.
        let verified = match mode {
            Mode::VerifyFull | Mode::VerifyCa => true,
            Mode::Require => !matches!(self.roots, Roots::None),
            Mode::Disable | Mode::Allow | Mode::Prefer => false,
        };
        let builder = builder.dangerous();
        let builder = if verified {
            let roots = self.root_certificates()?;
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(roots.iter().cloned());
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
                .build()
                .map_err(|_| "sslrootcert holds no certificate that can be used".to_owned())?;
            let any_name = mode != Mode::VerifyFull;
            builder.with_custom_certificate_verifier(Arc::new(Trusted { chain, roots, any_name }))
        } else {
            builder.with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        };
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("sslkey {}: {error}", key.display()))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| format!("sslcert can't be used: {error}"))
    }

    fn root_certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        match &self.roots {
            Roots::None => Ok(Vec::new()),
            Roots::System => Ok(rustls_native_certs::load_native_certs().certs),
            Roots::File(file) => certificates(file),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| format!("certificate {}: {error}", file.display()))
}

/// Verifies nothing but that the server holds the key of whatever certificate it shows: encryption against those who
/// only listen.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

/// Verifies the chain and, unless any will do, the name.
#[derive(Debug)]
struct Trusted {
    chain: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        match verify_tls13_signature(message, certificate, signature, algorithms) {
            // Not read: version 1, say, which the PostgreSQL manual's recipe makes. Nothing but its key matters here.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) => {
                let key = public_key::of_certificate(certificate).ok_or(CertificateError::BadEncoding)?;
                verify_tls13_signature_with_raw_key(message, &key.into(), signature, algorithms)
            }
            result => result,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last: everything else is right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            // The server's own certificate, made by `openssl req -x509`, is trusted and calls itself an authority:
            // OpenSSL does not mind. Its dates have been looked at before.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.roots.contains(certificate) =>
            {
                let certificate = ParsedCertificate::try_from(certificate)?;
                if !self.any_name {
                    verify_server_name(&certificate, name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
