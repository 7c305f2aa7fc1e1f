//! What the documents show is so.

use harness::{Cluster, Database, Worker};
use std::path::Path;

pub fn document(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

#[tokio::test]
async fn the_sql_reference_is_what_the_catalog_says() {
    let database = Database::new().await;
    // Loads the library, so that its settings are known.
    database.run("SELECT webhook.in_copy()").await;
    let fresh = database.rows(&document("docs/reference.sql")).await.join("\n") + "\n";
    assert!(!fresh.contains("UNDOCUMENTED"), "every function, table and view has a COMMENT:\n{fresh}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md"), &fresh)
            .expect("docs/sql.md is written");
    }
    assert!(document("docs/sql.md") == fresh, "docs/sql.md is old: run this test with UPDATE_DOCS=1");
}

/// The fenced blocks of a language between a heading and the next of its level.
fn blocks(text: &str, heading: &str, language: &str) -> Vec<String> {
    let section =
        text.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).filter_map(|rest| Some(rest.split("```").next()?.to_owned())).collect()
}

#[tokio::test]
async fn the_readme_begins_with_what_works() {
    let database = Database::empty(Cluster::shared().await).await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY)").await;
    let readme = document("README.md");
    let first = readme.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    database.run(first).await;
    assert_eq!(database.rows("SELECT type, status FROM webhook.delivery").await, ["invoice.paid|pending"]);
}

#[tokio::test]
async fn the_five_minute_tour_of_the_readme_works() {
    let database = Database::new().await;
    let readme = document("README.md");
    let sql = blocks(&readme, "## Five minutes", "sql");
    let port = harness::free_port();
    database.run(&sql[0].replace(":8080", &format!(":{port}"))).await;
    let secret = database.text("SELECT secret FROM webhook.endpoint_secret").await;
    let console = &blocks(&readme, "## Five minutes", "console")[0];
    assert!(console.contains("listen --port 8080") && console.contains("PG_WEBHOOK_SECRET="), "{console}");
    let arguments = ["listen".to_owned(), "--port".into(), port.to_string()];
    let receiver = Worker::command(&arguments, &[("PG_WEBHOOK_SECRET", secret)]);
    receiver.says("listening on").await;
    let _worker = Worker::start(&database).await;

    // Statement by statement, as psql sends them.
    let shown = Cluster::shared().await.psql(&database.name, &sql[1]);
    assert!(!shown.contains("ERROR"), "{shown}");
    database.drained().await;
    assert_eq!(
        database
            .rows("SELECT type, status, attempts, last_status_code FROM webhook.delivery ORDER BY event_id")
            .await,
        ["orders.created|delivered|1|200", "orders.updated|delivered|1|200", "invoice.paid|delivered|1|200"]
    );
    assert_eq!(
        receiver.log().iter().filter(|line| line.contains("verified")).count(),
        3,
        "{:?}",
        receiver.log()
    );

    let shown: serde_json::Value =
        serde_json::from_str(&blocks(&readme, "## Five minutes", "json")[0]).expect("JSON");
    let stored = database.text("SELECT body FROM webhook.event WHERE type = 'orders.updated'").await;
    let mut stored: serde_json::Value = serde_json::from_str(&stored).expect("JSON");
    for drawn in ["id", "timestamp"] {
        stored[drawn] = shown[drawn].clone();
    }
    assert_eq!(stored, shown);

    database.run(&sql[2]).await;
    assert_eq!(
        database.rows("SELECT status, timeout, max_in_flight, success_on FROM webhook.endpoint").await,
        ["paused|00:00:05|4|{[200,201)}"]
    );
}

#[tokio::test]
async fn the_readme_lists_every_flag_with_its_variable() {
    let readme = document("README.md");
    let help = Worker::command(&["run".to_owned(), "--help".into()], &[]).ended().await.1;
    let flags = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|flag| flag.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>());
    let mut seen = 0;
    for flag in flags.filter(|flag| !flag.is_empty() && flag != "help" && flag != "version") {
        let variable = format!("PG_WEBHOOK_{}", flag.to_uppercase().replace('-', "_"));
        assert!(readme.contains(&format!("| `--{flag}` | `{variable}` |")), "README lacks --{flag}");
        seen += 1;
    }
    assert!(seen >= 8, "{help}");
}
