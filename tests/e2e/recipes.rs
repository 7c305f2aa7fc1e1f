//! Receivers as docs/recipes shows them: they accept what the worker sends, once, and nothing else.

use crate::clients::{node_modules, python};
use crate::docs::document;
use harness::{Database, Worker};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver as Lines, channel};
use std::time::Duration;

/// The one block of a language in a recipe.
fn code(page: &str, language: &str) -> String {
    let text = document(&format!("docs/recipes/{page}.md"));
    let block = text.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_else(|| panic!("{page}.md has no {language}")).to_owned()
}

/// A recipe's process and what it prints; it ends with this.
struct Running {
    process: std::process::Child,
    lines: Lines<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    fn start(command: &mut Command, port: u16, secret: &str) -> Running {
        let command = command.env("PORT", port.to_string()).env("WEBHOOK_SECRET", secret);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let output = process.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { process, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(30)).expect("it prints a line")
    }
}

/// Delivers to the recipe what it is to accept, and again what it knows, then what is forged.
async fn receives(command: &mut Command) {
    let database = Database::new().await;
    let port = harness::free_port();
    let (endpoint, secret) = database.endpoint(&format!("http://127.0.0.1:{port}/")).await;
    let running = Running::start(command, port, &secret);
    assert_eq!(running.line(), "listening");
    let _worker = Worker::start(&database).await;

    let first = database.text("SELECT webhook_emit('order.paid', '{\"name\": \"Grüße 🚀\"}')").await;
    assert_eq!(running.line(), format!("order.paid {first}"));
    database.drained().await;
    database.run(&format!("SELECT webhook_resend('{first}', {endpoint})")).await;
    database.drained().await;
    let second = database.text("SELECT webhook_emit('order.sent', '{}')").await;
    assert_eq!(running.line(), format!("order.sent {second}"), "the first one is not done twice");
    database.drained().await;
    let answers =
        "SELECT type, number, status_code, outcome FROM webhook.delivery_log ORDER BY event_id, number";
    let taken = ["order.paid|1|204|delivered", "order.paid|2|204|delivered", "order.sent|1|204|delivered"];
    assert_eq!(database.rows(answers).await, taken);

    database.run("UPDATE webhook.endpoint SET retry_schedule = '{}'").await;
    database.run("SELECT webhook_rotate_secret(id, '0') FROM webhook.endpoint").await;
    database.run("SELECT webhook_emit('order.forged', '{}')").await;
    database.drained().await;
    assert_eq!(database.rows(answers).await[3..], ["order.forged|1|401|failed"]);
    assert!(running.lines.try_recv().is_err(), "it does nothing about it");
}

fn written(name: &str, code: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, code).expect("the recipe is written");
    (folder, file)
}

#[tokio::test]
async fn the_node_recipe_works() {
    let (_folder, file) = written("receiver.js", &code("node", "js"));
    receives(Command::new("node").env("NODE_PATH", node_modules()).arg(file)).await;
}

#[tokio::test]
async fn the_python_recipe_works() {
    let (_folder, file) = written("receiver.py", &code("python", "python"));
    receives(Command::new(python()).arg(file)).await;
}

#[tokio::test]
async fn the_rust_recipe_works() {
    assert_eq!(code("rust", "rust"), include_str!("../recipes/receiver.rs"));
    receives(&mut Command::new(env!("CARGO_BIN_EXE_recipe"))).await;
}
