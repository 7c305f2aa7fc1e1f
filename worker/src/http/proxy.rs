//! The forward proxy that requests go through, if the operator names one. Its credentials are in no argument, and in no
//! error.

use crate::credentials;
use protocol::egress::literal_host;
use std::net::IpAddr;
use std::path::Path;
use url::Url;

const USER: &str = "PG_WEBHOOK_PROXY_USER";
const PASSWORD: &str = "PG_WEBHOOK_PROXY_PASSWORD";

pub struct Proxy {
    url: Url,
    credentials: Option<(String, String)>,
}

impl Proxy {
    pub fn read(
        url: &str,
        credentials_file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Proxy, String> {
        let wrong =
            |problem: &str| format!("--proxy: {problem}; give it as http://proxy.internal:3128 or https://…");
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(format!(
                "--proxy: arguments can be read by every user of the machine; give user and password in {USER} and \
                 {PASSWORD}, or in a file with --proxy-credentials-file"
            ));
        }
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("its scheme must be http or https"));
        }
        if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("nothing may follow host and port"));
        }
        let credentials = match credentials_file {
            Some(file) => Some(read_file(file)?),
            None => credentials::from_environment(USER, PASSWORD, environment)?,
        };
        Ok(Proxy { url: parsed, credentials })
    }

    /// Its host, if that is an address.
    pub fn literal(&self) -> Option<IpAddr> {
        self.url.host_str().and_then(literal_host)
    }

    pub fn for_client(&self) -> Result<reqwest::Proxy, String> {
        let proxy = reqwest::Proxy::all(self.url.clone())
            .map_err(|_| "--proxy: the http client can't use it".to_owned())?;
        Ok(match &self.credentials {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        })
    }
}

/// `user:password` on its first line.
fn read_file(file: &Path) -> Result<(String, String), String> {
    let failed = |problem: &str| format!("--proxy-credentials-file {}: {problem}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error.to_string().to_lowercase()))?;
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(':') {
        Some((user, password)) if !user.is_empty() => Ok((user.to_owned(), password.to_owned())),
        _ => Err(failed("its first line must be user:password")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_ones_are_refused_without_what_is_secret() {
        for (url, says) in [
            ("proxy.internal:3128", "http or https"),
            ("socks5://proxy:1080", "http or https"),
            ("http://", "empty host"),
            ("http://user:hunter2@proxy:3128", "PG_WEBHOOK_PROXY_PASSWORD"),
            ("http://proxy/hunter2", "nothing may follow"),
        ] {
            let error = Proxy::read(url, None, |_| None).err().unwrap();
            assert!(error.contains(says) && !error.contains("hunter2"), "{url}: {error}");
        }
        let only_password = |name: &str| (name == PASSWORD).then(|| "hunter2".to_owned());
        let error = Proxy::read("http://proxy", None, only_password).err().unwrap();
        assert_eq!(error, "PG_WEBHOOK_PROXY_PASSWORD is set, but PG_WEBHOOK_PROXY_USER is not");
        assert!(Proxy::read("http://127.0.0.1:3128", None, |_| None).unwrap().literal().is_some());
    }
}
