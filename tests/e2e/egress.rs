//! What may be called: nothing but permitted addresses is ever dialled, however they are written, whatever DNS says.
//!
//! Where the machine lets them, these tests run in a network of their own in which every address, public or private,
//! leads to their receiver: it sees whatever is dialled. Elsewhere 127.0.0.2, allowed, stands for the public ones.

use harness::{Answer, Conversation, Database, DnsServer, RawReceiver, Receiver, Record, Worker, isolated};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

const PUBLIC: &str = "93.184.216.34";
const PUBLIC_V6: &str = "2606:2800:220:1:248:1893:25c8:1946";

/// A host of an endpoint's URL, and what is said of it.
const REFUSED: &[(&str, &str)] = &[
    ("127.0.0.1", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("127.0.0.1.", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("127.1", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("127.0.1", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("127.255.255.254", "127.255.255.254 is loopback (127.0.0.0/8)"),
    ("2130706433", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("0x7f000001", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("0X7F.1", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("0177.0.0.1", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("017700000001", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("127。0。0。1", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("①②⑦.0.0.1", "127.0.0.1 is loopback (127.0.0.0/8)"),
    ("[::1]", "::1 is loopback (::1/128)"),
    ("[0:0:0:0:0:0:0:1]", "::1 is loopback (::1/128)"),
    ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1 carries 127.0.0.1, which is loopback (127.0.0.0/8)"),
    ("[::ffff:7f00:1]", "::ffff:127.0.0.1 carries 127.0.0.1, which is loopback (127.0.0.0/8)"),
    ("[64:ff9b::7f00:1]", "64:ff9b::7f00:1 carries 127.0.0.1, which is loopback (127.0.0.0/8)"),
    ("[64:ff9b:1::7f00:1]", "64:ff9b:1::7f00:1 is a local NAT64 address (64:ff9b:1::/48)"),
    ("[::127.0.0.1]", "::7f00:1 is IPv4-compatible (::/96)"),
    ("[::ffff:0:127.0.0.1]", "::ffff:0:7f00:1 is IPv4-translated (::ffff:0:0:0/96)"),
    ("[2002:7f00:1::]", "2002:7f00:1:: is a 6to4 address (2002::/16)"),
    ("[2001:0:7f00:1::]", "2001:0:7f00:1:: is a Teredo address (2001::/32)"),
    ("0.0.0.0", "0.0.0.0 is an address of this network (0.0.0.0/8)"),
    ("0", "0.0.0.0 is an address of this network (0.0.0.0/8)"),
    ("[::]", ":: is unspecified (::/128)"),
    ("10.0.0.1", "10.0.0.1 is private (10.0.0.0/8)"),
    ("167772161", "10.0.0.1 is private (10.0.0.0/8)"),
    ("172.16.0.1", "172.16.0.1 is private (172.16.0.0/12)"),
    ("172.31.255.255", "172.31.255.255 is private (172.16.0.0/12)"),
    ("192.168.1.1", "192.168.1.1 is private (192.168.0.0/16)"),
    ("0xc0.0xa8.0x1.0x1", "192.168.1.1 is private (192.168.0.0/16)"),
    ("169.254.169.254", "169.254.169.254 is a cloud metadata address (169.254.169.254/32)"),
    ("0251.0376.0251.0376", "169.254.169.254 is a cloud metadata address (169.254.169.254/32)"),
    ("2852039166", "169.254.169.254 is a cloud metadata address (169.254.169.254/32)"),
    ("169.254.0.1", "169.254.0.1 is link-local (169.254.0.0/16)"),
    ("[fd00:ec2::254]", "fd00:ec2::254 is a cloud metadata address (fd00:ec2::254/128)"),
    ("100.64.0.1", "100.64.0.1 is shared (CGNAT) (100.64.0.0/10)"),
    ("192.0.2.1", "192.0.2.1 is a documentation address (192.0.2.0/24)"),
    ("198.18.0.1", "198.18.0.1 is a benchmarking address (198.18.0.0/15)"),
    ("224.0.0.1", "224.0.0.1 is multicast (224.0.0.0/4)"),
    ("240.0.0.1", "240.0.0.1 is reserved (240.0.0.0/4)"),
    ("255.255.255.255", "255.255.255.255 is broadcast (255.255.255.255/32)"),
    ("[fe80::1]", "fe80::1 is link-local (fe80::/10)"),
    ("[fc00::1]", "fc00::1 is unique-local (fc00::/7)"),
    ("[ff02::1]", "ff02::1 is multicast (ff00::/8)"),
    ("[2001:db8::1]", "2001:db8::1 is a documentation address (2001:db8::/32)"),
];

/// Where a test plays.
struct Stage {
    database: Arc<Database>,
    /// In a network in which every address leads here.
    everywhere: bool,
}

impl Stage {
    /// An address that may be called.
    fn open(&self) -> &'static str {
        if self.everywhere { PUBLIC } else { "127.0.0.2" }
    }

    /// A worker that may call it, and nothing else on this machine.
    async fn worker(&self, dns: &DnsServer) -> Worker {
        let dns = dns.address();
        let mut arguments = vec!["--dns-server", &dns];
        if !self.everywhere {
            arguments.extend(["--allow-network", "127.0.0.2/32"]);
        }
        Worker::start_with(&self.database, &arguments).await
    }
}

async fn stage<F: AsyncFnOnce(Stage) + Copy + Send + 'static>(test: F) {
    let database = Arc::new(Database::new().await);
    let inside = database.clone();
    if isolated(async move || test(Stage { database: inside, everywhere: true }).await).await.is_none() {
        test(Stage { database, everywhere: false }).await;
    }
}

/// A receiver that answers 200, once per connection, and remembers at which addresses it was reached.
struct Target {
    receivers: Vec<RawReceiver>,
    dialled: Arc<Mutex<BTreeSet<String>>>,
}

impl Target {
    /// At every address there is, or those of loopback that tests use.
    async fn start(stage: &Stage) -> Target {
        let dialled = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = dialled.clone();
        let talk = move |mut talk: Conversation| {
            let at = talk.stream.local_addr().expect("it is connected").ip().to_canonical();
            seen.lock().expect("no panic while locked").insert(at.to_string());
            async move {
                talk.request().await?;
                talk.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await
            }
        };
        let addresses: &[&str] = if stage.everywhere { &["::"] } else { &["127.0.0.1", "127.0.0.2"] };
        let mut target = Target { receivers: Vec::new(), dialled };
        let mut port = 0;
        for address in addresses {
            let address = SocketAddr::new(address.parse().expect("an address"), port);
            target.receivers.push(RawReceiver::start_at(address, talk.clone()).await);
            port = target.port();
        }
        target
    }

    fn port(&self) -> u16 {
        self.receivers[0].port()
    }

    /// Every address that was reached, once.
    fn dialled(&self) -> Vec<String> {
        self.dialled.lock().expect("no panic while locked").iter().cloned().collect()
    }
}

/// Makes an endpoint for each host, sends all one event, and returns what the log says of each: `delivered`, or the
/// error.
async fn outcomes(database: &Database, port: u16, hosts: &[&str]) -> BTreeMap<String, String> {
    for host in hosts {
        database
            .run(&format!(
                "INSERT INTO webhook.endpoint (url, name, retry_schedule)
                 VALUES ('http://{host}:{port}/', '{host}', '{{}}')"
            ))
            .await;
    }
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    let log = database
        .rows(
            "SELECT e.name, coalesce(a.error, a.outcome)
             FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id",
        )
        .await;
    assert_eq!(log.len(), hosts.len(), "one attempt each: {log:#?}");
    log.iter().filter_map(|row| row.split_once('|')).map(|(host, said)| (host.into(), said.into())).collect()
}

fn check(outcomes: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(host, said)| !outcomes[*host].starts_with(said))
        .map(|(host, said)| format!("{host}: {} instead of {said}", outcomes[*host]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_closed_address_is_refused_in_every_spelling_and_a_public_one_is_reached() {
    stage(async |stage: Stage| {
        let target = Target::start(&stage).await;
        let _worker = Worker::start_with(&stage.database, &[]).await;
        let mut hosts: Vec<&str> = REFUSED.iter().map(|(host, _)| *host).collect();
        hosts.push("localhost");
        let v6 = format!("[{PUBLIC_V6}]");
        if stage.everywhere {
            hosts.extend([PUBLIC, v6.as_str(), "localhost."]);
        }
        let outcomes = outcomes(&stage.database, target.port(), &hosts).await;
        let public: &[&str] = if stage.everywhere { &[PUBLIC_V6, PUBLIC] } else { &[] };
        assert_eq!(target.dialled(), public, "the public ones are dialled and no other");
        for (host, why) in REFUSED {
            check(&outcomes, &[(host, &format!("refused address: {why}"))]);
        }
        // Which of the two comes first is /etc/hosts' to say.
        let said = &outcomes["localhost"];
        let loopback = ["127.0.0.1 is loopback (127.0.0.0/8)", "::1 is loopback (::1/128)"];
        assert!(
            loopback.iter().any(|one| said.starts_with(&format!("refused address: {one}"))),
            "localhost: {said}"
        );
        if stage.everywhere {
            check(&outcomes, &[(PUBLIC, "delivered"), (&v6, "delivered")]);
            // Not every C library takes it for localhost.
            let said = &outcomes["localhost."];
            assert!(said.contains("is loopback") || said.starts_with("dns: "), "{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_allowed_network_is_open_and_nothing_else() {
    stage(async |stage: Stage| {
        let target = Target::start(&stage).await;
        let _worker = Worker::start_with(&stage.database, &["--allow-network", "127.0.0.0/8"]).await;
        let expected = [
            ("127.0.0.1", "delivered"),
            ("0x7f.1", "delivered"),
            ("[::ffff:127.0.0.1]", "delivered"),
            ("localhost", "delivered"),
            ("[::1]", "refused address: ::1 is loopback"),
            ("[::127.0.0.1]", "refused address: ::7f00:1 is IPv4-compatible"),
            ("[64:ff9b::7f00:1]", "refused address: 64:ff9b::7f00:1 carries 127.0.0.1, which is loopback"),
            ("[2002:7f00:1::]", "refused address: 2002:7f00:1:: is a 6to4 address"),
            ("0.0.0.0", "refused address: 0.0.0.0 is an address of this network"),
            ("10.0.0.1", "refused address: 10.0.0.1 is private"),
            ("169.254.169.254", "refused address: 169.254.169.254 is a cloud metadata address"),
        ];
        let hosts: Vec<&str> = expected.iter().map(|(host, _)| *host).collect();
        check(&outcomes(&stage.database, target.port(), &hosts).await, &expected);
        assert_eq!(target.dialled(), ["127.0.0.1"]);
    })
    .await;
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_it_has() {
    // Name, its records (`open` is the address that may be called), and what comes of it.
    const NAMES: &[(&str, &[&str], &str)] = &[
        ("open.test", &["open"], "delivered"),
        ("loopback.test", &["127.0.0.1"], "refused address: 127.0.0.1 is loopback"),
        ("private.test", &["10.0.0.1", "192.168.0.1"], "refused address: 1"),
        (
            "metadata.test",
            &["169.254.169.254"],
            "refused address: 169.254.169.254 is a cloud metadata address",
        ),
        ("closed-first.test", &["127.0.0.1", "10.0.0.1", "::1", "open"], "delivered"),
        ("closed-last.test", &["open", "127.0.0.1", "fc00::1"], "delivered"),
        ("loopback6.test", &["::1"], "refused address: ::1 is loopback"),
        (
            "mapped.test",
            &["::ffff:127.0.0.1"],
            "refused address: ::ffff:127.0.0.1 carries 127.0.0.1, which is loopback",
        ),
        (
            "nat64.test",
            &["64:ff9b::7f00:1"],
            "refused address: 64:ff9b::7f00:1 carries 127.0.0.1, which is loopback",
        ),
        ("6to4.test", &["2002:7f00:1::"], "refused address: 2002:7f00:1:: is a 6to4 address"),
        ("local.test", &["fc00::1"], "refused address: fc00::1 is unique-local"),
        ("alias.test", &["alias2.test"], "refused address: 127.0.0.1 is loopback"),
        ("alias2.test", &["alias3.test"], "refused address: 127.0.0.1 is loopback"),
        ("alias3.test", &["loopback.test"], "refused address: 127.0.0.1 is loopback"),
        ("good-alias.test", &["open.test"], "delivered"),
        ("circle.test", &["circle2.test"], "dns: "),
        ("circle2.test", &["circle.test"], "dns: "),
        ("nobody.test", &[], "dns: "),
        ("LoopBack.test.", &["127.0.0.1"], "refused address: 127.0.0.1 is loopback"),
    ];
    stage(async |stage: Stage| {
        let open = stage.open();
        let dns = DnsServer::start(move |name, _| {
            let found = NAMES.iter().find(|(known, ..)| known.to_lowercase().trim_end_matches('.') == name);
            let records = found.map_or(&[][..], |(_, records, _)| records).iter();
            records.map(|record| Record::new(if *record == "open" { open } else { record })).collect()
        })
        .await;
        let target = Target::start(&stage).await;
        let _worker = stage.worker(&dns).await;
        let hosts: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
        let outcomes = outcomes(&stage.database, target.port(), &hosts).await;
        assert_eq!(target.dialled(), [open]);
        let expected: Vec<_> = NAMES.iter().map(|(name, _, said)| (*name, *said)).collect();
        check(&outcomes, &expected);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_changes_its_address_never_leads_to_loopback() {
    stage(async |stage: Stage| {
        let open = stage.open();
        // Right when it is looked up first, loopback ever after.
        let dns = DnsServer::start(move |_, before| {
            vec![Record::new(if before == 0 { open } else { "127.0.0.1" })]
        });
        let dns = dns.await;
        let target = Target::start(&stage).await;
        let _worker = stage.worker(&dns).await;
        let outcomes = outcomes(&stage.database, target.port(), &["rebind.test"]).await;
        check(&outcomes, &[("rebind.test", "delivered")]);
        for _ in 0..3 {
            stage.database.run("SELECT webhook_emit('c.d', '{}')").await;
            stage.database.drained().await;
        }
        let log =
            stage.database.rows("SELECT DISTINCT error FROM webhook.attempt WHERE error IS NOT NULL").await;
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(log[0].starts_with("refused address: 127.0.0.1 is loopback (127.0.0.0/8)"), "{log:?}");
        assert!(dns.asked("rebind.test") >= 4, "it is looked up for every connection");
        assert_eq!(target.dialled(), [open]);
    })
    .await;
}

#[tokio::test]
async fn a_redirect_is_a_failed_attempt_and_not_followed() {
    let (database, elsewhere) = (Database::new().await, Receiver::start().await);
    let receiver = Receiver::start().await;
    let _worker = Worker::start(&database).await;
    let location = elsewhere.url("/");
    receiver.answers(move |request| {
        Answer::status(request.path[1..].parse().expect("a status")).header("location", &location)
    });
    let statuses = [300, 301, 302, 303, 305, 307, 308];
    for status in statuses {
        let (endpoint, _) = database.endpoint(&receiver.url(&format!("/{status}"))).await;
        database
            .run(&format!("UPDATE webhook.endpoint SET retry_schedule = '{{}}' WHERE id = {endpoint}"))
            .await;
    }
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    let log = database.rows("SELECT outcome, status_code FROM webhook.attempt ORDER BY status_code").await;
    assert_eq!(log, statuses.map(|status| format!("failed|{status}")));
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    let proxy = RawReceiver::start(async |mut talk: Conversation| talk.wait().await).await;
    let mut environment = database.environment();
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        environment.push((name, proxy.url()));
    }
    let worker = Worker::spawn(&environment, &["--allow-network", "127.0.0.0/8"]).await;
    worker.ready().await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    receiver.receives(1).await;
    database.drained().await;
    assert_eq!(proxy.connections(), 0);
}
