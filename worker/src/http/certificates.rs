//! Certificates that single endpoints need: names in webhook.endpoint, files in --certificate-dir. No key is ever in the
//! database.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What an endpoint names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificates {
    /// The worker's own towards it: chain and private key.
    pub client: Option<String>,
    /// Trusted for it, besides what is trusted for all.
    pub ca: Option<String>,
}

/// Tells whether a file is still the one that was read.
#[derive(PartialEq, Eq)]
pub struct Stamp(Vec<Option<(u64, u64, i64, i64)>>);

impl Certificates {
    pub fn new(client: Option<String>, ca: Option<String>) -> Option<Certificates> {
        (client.is_some() || ca.is_some()).then_some(Certificates { client, ca })
    }

    pub fn stamp(&self, folder: Option<&Path>) -> Stamp {
        let names = self.client.iter().chain(&self.ca);
        let read = |name: &String| {
            let found = fs::metadata(folder?.join(format!("{name}.pem"))).ok()?;
            Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        };
        Stamp(names.map(read).collect())
    }

    /// TLS with them. An error says which file is wrong and how it should be.
    pub fn tls(&self, folder: Option<&Path>, trusted: &RootCertStore) -> Result<ClientConfig, String> {
        let mut roots = trusted.clone();
        if let Some(name) = &self.ca {
            let file = PemFile::find("ca_certificate", name, folder)?;
            let (added, _) = roots.add_parsable_certificates(file.certificates()?);
            if added == 0 {
                return Err(file.wrong("no certificate in it can be used"));
            }
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut tls = match &self.client {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let file = PemFile::find("client_certificate", name, folder)?;
                let key = PrivateKeyDer::from_pem_slice(&file.text)
                    .map_err(|_| file.wrong("it has no private key that can be used"))?;
                builder.with_client_auth_cert(file.certificates()?, key).map_err(|error| file.wrong(error))?
            }
        };
        tls.alpn_protocols = super::client::protocols();
        Ok(tls)
    }
}

struct PemFile<'n> {
    column: &'static str,
    name: &'n str,
    path: PathBuf,
    text: Vec<u8>,
}

impl<'n> PemFile<'n> {
    fn find(column: &'static str, name: &'n str, folder: Option<&Path>) -> Result<PemFile<'n>, String> {
        // The database says so as well; but it is a path that is made of it.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.starts_with('.') || name.len() > 100 || !name.chars().all(allowed) {
            return Err(format!("tls: {column}: its name has other characters than letters, digits, . _ -"));
        }
        let Some(folder) = folder else {
            return Err(format!(
                "tls: {column} {name}: the worker knows no folder for it; start it with --certificate-dir"
            ));
        };
        let mut file = PemFile { column, name, path: folder.join(format!("{name}.pem")), text: Vec::new() };
        file.text = fs::read(&file.path).map_err(|error| file.wrong(error.to_string().to_lowercase()))?;
        Ok(file)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(self.wrong("it has no certificate that can be used")),
        }
    }

    fn wrong(&self, problem: impl fmt::Display) -> String {
        let PemFile { column, name, path, .. } = self;
        let needed = if *column == "ca_certificate" {
            "certificates"
        } else {
            "the certificate chain and its private key"
        };
        format!("tls: {column} {name}: {}: {problem}; put {needed} there, in PEM", path.display())
    }
}
