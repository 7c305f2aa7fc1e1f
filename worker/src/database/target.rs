//! Which database to connect to, as whom, and how far its certificate must be checked: libpq's parameters and
//! environment, with libpq's meaning.

use super::conninfo::{self, Parameters};
use super::pgpass;
use super::tls::{Material, Mode};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslNegotiation, TargetSessionAttrs};

/// Hosts in the order they are tried.
pub struct Target {
    pub hosts: Vec<HostTarget>,
    pub mode: Mode,
    pub material: Material,
    /// For messages: hosts and database, never a password.
    pub name: String,
}

pub struct HostTarget {
    pub config: Config,
    pub is_socket: bool,
    pub name: String,
}

/// Parameters, and the environment variables that stand in for them.
const ENVIRONMENT: [(&str, &str); 15] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("dbname", "PGDATABASE"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

/// Parameters of libpq that change nothing here.
const IGNORED: [&str; 13] = [
    "application_name",
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "sslcompression",
    "sslsni",
    "ssl_min_protocol_version",
    "tcp_user_timeout",
];

/// Without a `connect_timeout` a host that swallows packets would be waited for as long as the kernel pleases.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that vanished is noticed after so long; also sent to the server for its side.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(5);

impl Target {
    /// `as_argument`: the text was given on the command line, where it must hold no password.
    pub fn read(
        database_url: Option<&str>,
        as_argument: bool,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Target, String> {
        let mut given = match database_url {
            Some(text) => {
                conninfo::parse(text).map_err(|problem| format!("--database-url is not valid: {problem}"))?
            }
            None => Parameters::new(),
        };
        if as_argument && given.contains_key("password") {
            return Err("--database-url holds a password, and every user of this machine can read arguments: give it \
                        in PG_WEBHOOK_DATABASE_URL, PGPASSWORD or ~/.pgpass"
                .to_owned());
        }
        if given.contains_key("service")
            || environment("PGSERVICE").is_some_and(|service| !service.is_empty())
        {
            return Err("service files are not read: give host, port, user and dbname".to_owned());
        }
        for (key, variable) in ENVIRONMENT {
            if let Some(value) = environment(variable).filter(|value| !value.is_empty()) {
                given.entry(key.to_owned()).or_insert(value);
            }
        }
        let home = environment("HOME").map(PathBuf::from).unwrap_or_default();
        let os_user = environment("USER").or_else(|| environment("LOGNAME"));
        build(given, &home, os_user)
    }
}

fn build(mut given: Parameters, home: &Path, os_user: Option<String>) -> Result<Target, String> {
    let mut take = |key: &str| given.remove(key);
    let hosts = take("host");
    let addresses = take("hostaddr");
    let ports = take("port").unwrap_or_else(|| "5432".to_owned());
    let user = take("user").or(os_user).ok_or("no user is given: set PGUSER")?;
    let database = take("dbname").unwrap_or_else(|| user.clone());
    let password = take("password");
    let passfile = take("passfile").map_or_else(|| home.join(".pgpass"), PathBuf::from);
    let mode = take("sslmode").map_or(Ok(Mode::Prefer), |mode| mode.parse())?;
    let material =
        Material::new(take("sslrootcert"), take("sslcert"), take("sslkey"), &home.join(".postgresql"), mode)?;

    let mut base = Config::new();
    base.user(&user).dbname(&database).keepalives(true).keepalives_idle(KEEPALIVES_IDLE);
    base.keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(10));
    base.connect_timeout(match take("connect_timeout") {
        Some(text) => match text.parse::<u64>().map_err(|_| "connect_timeout must be a number of seconds")? {
            0 => CONNECT_TIMEOUT,
            seconds => Duration::from_secs(seconds),
        },
        None => CONNECT_TIMEOUT,
    });
    if let Some(options) = take("options") {
        base.options(options);
    }
    match take("target_session_attrs").as_deref() {
        None | Some("any" | "prefer-standby") => {}
        Some("read-write" | "primary") => drop(base.target_session_attrs(TargetSessionAttrs::ReadWrite)),
        Some(_) => {
            return Err("target_session_attrs must be any, read-write or primary: a worker writes".to_owned());
        }
    }
    base.channel_binding(match take("channel_binding").as_deref() {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        Some(_) => return Err("channel_binding must be disable, prefer or require".to_owned()),
    });
    match take("sslnegotiation").as_deref() {
        None | Some("postgres") => {}
        Some("direct") => drop(base.ssl_negotiation(SslNegotiation::Direct)),
        Some(_) => return Err("sslnegotiation must be postgres or direct".to_owned()),
    }
    if let Some(unknown) = given.keys().find(|key| !IGNORED.contains(&key.as_str())) {
        return Err(format!("there is no connection parameter \"{unknown}\""));
    }

    let ports = ports
        .split(',')
        .map(|port| if port.is_empty() { Ok(5432) } else { port.parse::<u16>() })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "port must be a number up to 65535".to_owned())?;
    let hosts: Vec<String> = match (&hosts, &addresses) {
        (Some(hosts), _) => hosts.split(',').map(str::to_owned).collect(),
        (None, Some(addresses)) => addresses.split(',').map(str::to_owned).collect(),
        (None, None) => vec![default_host(ports[0])],
    };
    let addresses: Vec<&str> = addresses.as_deref().map(|text| text.split(',').collect()).unwrap_or_default();
    if (ports.len() != 1 && ports.len() != hosts.len())
        || (!addresses.is_empty() && addresses.len() != hosts.len())
    {
        return Err("there must be as many ports and addresses as hosts".to_owned());
    }
    let content = read_passfile(&passfile);
    let mut targets = Vec::new();
    for (place, host) in hosts.iter().enumerate() {
        let host = if host.is_empty() { default_host(ports[0]) } else { host.clone() };
        let port = *ports.get(place).unwrap_or(&ports[0]);
        let is_socket = host.starts_with('/');
        let mut config = base.clone();
        config.host(&host).port(port);
        if let Some(address) = addresses.get(place) {
            config.hostaddr(address.parse().map_err(|_| "hostaddr must be an IP address")?);
        }
        let found = || {
            let known_as = if is_socket { "localhost" } else { &host };
            let content = content.as_ref()?;
            pgpass::find(content, &host, port, &database, &user)
                .or_else(|| pgpass::find(content, known_as, port, &database, &user))
        };
        if let Some(password) = password.clone().or_else(found) {
            config.password(password);
        }
        targets.push(HostTarget { config, is_socket, name: format!("{host}:{port}") });
    }
    let name = targets.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(",");
    Ok(Target { hosts: targets, mode, material, name: format!("{database} at {name}") })
}

/// libpq's default is the socket directory it was built with; Debian's first, PostgreSQL's own second.
fn default_host(port: u16) -> String {
    let directories = ["/var/run/postgresql", "/tmp"];
    let found =
        directories.iter().find(|directory| Path::new(directory).join(format!(".s.PGSQL.{port}")).exists());
    found.map_or_else(|| "localhost".to_owned(), ToString::to_string)
}

/// As libpq, a file that others may read is not used.
fn read_passfile(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("password file {} is not used: others may read it; chmod 0600 it", path.display());
        return None;
    }
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: Option<&str>, as_argument: bool, environment: &[(&str, &str)]) -> Result<Target, String> {
        Target::read(url, as_argument, |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn environment_stands_in_for_what_is_not_given() {
        let target = read(
            Some("postgresql://db/shop"),
            true,
            &[("PGHOST", "other"), ("PGPORT", "6000"), ("PGUSER", "me"), ("PGPASSWORD", "secret")],
        )
        .unwrap();
        assert_eq!(target.name, "shop at db:6000");
        let config = &target.hosts[0].config;
        assert_eq!(config.get_user(), Some("me"));
        assert_eq!(config.get_password(), Some("secret".as_bytes()));
    }

    #[test]
    fn several_hosts() {
        let target = read(Some("postgresql://me@a,b:1/x"), false, &[("HOME", "/nowhere")]).unwrap();
        assert_eq!(target.name, "x at a:5432,b:1");
    }

    #[test]
    fn refusals() {
        for (url, expected) in [
            ("postgresql://me:secret@db/x", "arguments"),
            ("postgresql://db/x?password=secret&user=me", "arguments"),
            ("postgresql://me@db/x?sslmode=maybe", "sslmode"),
            ("postgresql://me@db/x?colour=red", "colour"),
            ("postgresql://me@db/x?service=y", "service"),
            ("postgresql://me@a,b:1,c:2/x?port=1,2", "as many"),
            ("postgresql://me@db:99999/x", "port"),
        ] {
            let error = read(Some(url), true, &[]).err().unwrap_or_else(|| panic!("{url}"));
            assert!(error.contains(expected) && !error.contains("secret"), "{url}: {error}");
        }
        assert!(read(Some("postgresql://me:secret@db/x"), false, &[]).is_ok());
    }
}
