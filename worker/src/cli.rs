//! What stands on the command line, and the help that teaches it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Delivers the webhooks that pg_webhook enqueues in PostgreSQL.
#[derive(Parser)]
#[command(name = "pg-webhook-worker", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Deliver what the database owes, until told to stop.
    #[command(after_help = format!("{RUN_HELP}\n\n{EXIT_CODES}"))]
    Run(Box<Run>),
    /// Receive webhooks on this machine, verify their signatures, print a line for each. For development.
    #[command(after_help = LISTEN_HELP)]
    Listen(Listen),
}

#[derive(Args)]
pub struct Run {
    /// Where PostgreSQL is: a URL or key=value pairs, as psql takes them; without a password.
    #[arg(long, value_name = "URL", env = "PG_WEBHOOK_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Where /healthz and /metrics are served; `off` serves neither.
    #[arg(long, value_name = "ADDRESS", env = "PG_WEBHOOK_HTTP_ADDRESS", default_value = "127.0.0.1:9187")]
    pub http_address: HttpAddress,
    /// Networks that may be called although the egress policy refuses them. May be repeated.
    #[arg(long, value_name = "CIDR", env = "PG_WEBHOOK_ALLOW_NETWORK", value_delimiter = ',')]
    pub allow_network: Vec<IpNet>,
    /// DNS server that looks up endpoints' hosts, instead of the system's resolver.
    #[arg(long, value_name = "IP[:PORT]", env = "PG_WEBHOOK_DNS_SERVER", value_parser = dns_server)]
    pub dns_server: Option<SocketAddr>,
    /// Certificates (PEM) that endpoints, and the mail server, may be signed with, besides those the system trusts.
    #[arg(long, value_name = "FILE", env = "PG_WEBHOOK_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Folder with the certificates that endpoints name in client_certificate and ca_certificate: NAME.pem.
    #[arg(long, value_name = "FOLDER", env = "PG_WEBHOOK_CERTIFICATE_DIR")]
    pub certificate_dir: Option<PathBuf>,
    /// Address of this machine that requests come from. One of IPv4 and one of IPv6 may be given.
    #[arg(long, value_name = "IP", env = "PG_WEBHOOK_BIND_ADDRESS", value_delimiter = ',')]
    pub bind_address: Vec<IpAddr>,
    /// Proxy that requests go through: http:// or https://, without credentials.
    #[arg(long, value_name = "URL", env = "PG_WEBHOOK_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
    /// File with user:password for the proxy, if not PG_WEBHOOK_PROXY_USER and PG_WEBHOOK_PROXY_PASSWORD are set.
    #[arg(long, value_name = "FILE", env = "PG_WEBHOOK_PROXY_CREDENTIALS_FILE")]
    pub proxy_credentials_file: Option<PathBuf>,
    /// Mail server that notices are sent through: smtp://HOST[:PORT] or smtps://HOST[:PORT]. User name and password
    /// come from PG_WEBHOOK_SMTP_USER and PG_WEBHOOK_SMTP_PASSWORD; who gets the e-mails is a setting in the database.
    #[arg(long, value_name = "URL", env = "PG_WEBHOOK_SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// Deliver only while the database's arm id is this one, as webhook_arm() returned it.
    #[arg(long, value_name = "UUID", env = "PG_WEBHOOK_ARM_ID")]
    pub arm_id: Option<uuid::Uuid>,
    /// How long requests under way may take to finish after SIGTERM or SIGINT.
    #[arg(long, value_name = "TIME", env = "PG_WEBHOOK_SHUTDOWN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub shutdown_timeout: Duration,
    /// How to log: auto is human on a terminal and json otherwise.
    #[arg(long, env = "PG_WEBHOOK_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

#[derive(Args)]
pub struct Listen {
    /// Port on 127.0.0.1; 0 picks a free one and prints it.
    #[arg(long, env = "PG_WEBHOOK_PORT", default_value_t = 8080)]
    pub port: u16,
    /// File with the endpoint's secret (whsec_…), or several, one a line; read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Wait so long before each answer.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub delay: Duration,
    /// Answer verified requests with this status.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    pub status: u16,
    /// Answer so many of a hundred requests with 500, at random.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub fail_percent: u8,
    /// Print a summary each second instead of a line for each request.
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpAddress {
    Off,
    At(SocketAddr),
}

impl std::str::FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpAddress, String> {
        if text == "off" {
            return Ok(HttpAddress::Off);
        }
        let address = text.parse().map_err(|_| "give an address and port such as 127.0.0.1:9187, or off")?;
        Ok(HttpAddress::At(address))
    }
}

fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>().ok();
    with_port
        .or_else(|| text.parse().ok().map(|ip| SocketAddr::new(ip, 53)))
        .ok_or_else(|| "give an IP address, with a port if it is not 53".to_owned())
}

/// A number and its unit: ms, s, m or h. At most a day.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("give a number and a unit: 500ms, 30s, 2m, 1h".to_owned()),
    };
    let seconds = number.parse::<f64>().map_err(|_| format!("\"{number}\" is not a number"))? * unit_s;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("it is at least 0 and at most 24h".to_owned())
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  told to stop, and everything under way was recorded
  1  internal error
  2  wrong usage
  3  the database has no pg_webhook, one of another contract, or is behind a transaction pooler
  4  the role may not deliver
  5  the server is a standby
  6  the database is not armed";

const RUN_HELP: &str = "\
The database is named as for psql: by --database-url, else by PGHOST, PGPORT, PGUSER, PGDATABASE,
PGSSLMODE and the others. A password comes from PG_WEBHOOK_DATABASE_URL, PGPASSWORD or ~/.pgpass,
never from an argument: arguments can be read by every user of the machine. The role needs
GRANT webhook_worker. The connection must reach PostgreSQL itself or a session pooler.

Every option can be given as PG_WEBHOOK_<OPTION> as well, e.g.
PG_WEBHOOK_ALLOW_NETWORK=10.0.0.0/8,192.168.0.0/16. RUST_LOG=debug tells more.

Start several: they share the endpoints among them, and take over from one that dies.

Examples:
  PGDATABASE=shop pg-webhook-worker run
  pg-webhook-worker run --database-url 'postgresql://worker@db.internal/shop?sslmode=verify-full'
  pg-webhook-worker run --allow-network 10.20.0.0/16 --ca-file /etc/ssl/company.pem
  pg-webhook-worker run --allow-network 127.0.0.0/8        # development: receivers on this machine";

const LISTEN_HELP: &str = "\
The secret can be given in PG_WEBHOOK_SECRET instead of a file. GET /stats answers what was
counted, as JSON.

Examples:
  pg-webhook-worker listen --port 8080 --secret-file secret.txt
  PG_WEBHOOK_SECRET=whsec_… pg-webhook-worker listen --delay 2s
  pg-webhook-worker listen --secret-file secret.txt --fail-percent 10 --quiet

Exit codes:
  0  told to stop
  1  internal error
  2  wrong usage";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [("0s", 0), ("250ms", 250), ("1.5s", 1500), ("2m", 120_000), ("24h", 86_400_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1d", "25h", "nans", "1 s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dns_servers_have_a_default_port() {
        assert_eq!(dns_server("10.0.0.2").unwrap().to_string(), "10.0.0.2:53");
        assert_eq!(dns_server("[::1]:5353").unwrap().to_string(), "[::1]:5353");
        assert!(dns_server("dns.example").is_err());
    }
}
