//! Prometheus and Alertmanager on loopback, each with a copy of its delivered configuration in a folder of its own.

use crate::components::free_ports;
use crate::harness::until;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A program that runs, until this is dropped.
pub struct Running {
    process: Child,
    pub url: String,
    pub folder: TempDir,
    client: reqwest::Client,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file below `deploy/`.
pub fn delivered(path: &str) -> String {
    let path = deploy().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// Scrapes these nodes every second and evaluates the delivered rules as often. What must last for minutes to become an alert lasts for a second here.
pub async fn prometheus(nodes: &[String], alertmanager: Option<&Running>) -> Running {
    let port = free_ports(1);
    let folder = TempDir::new().unwrap();
    let targets: Vec<String> = nodes.iter().map(|url| format!("\"{}\"", address(url))).collect();
    let alerts = alertmanager.map(|running| format!("\"{}\"", address(&running.url))).unwrap_or_default();
    let configuration = replaced(
        &delivered("prometheus/prometheus.yml"),
        &[
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("scrape_timeout: 4s", "scrape_timeout: 1s"),
            ("evaluation_interval: 5s", "evaluation_interval: 1s"),
            ("\"127.0.0.1:9090\"", &format!("\"127.0.0.1:{port}\"")),
            ("\"127.0.0.1:9093\"", &alerts),
        ],
    );
    let rules = delivered("prometheus/rules/bunho.yaml").lines().fold(String::new(), |mut rules, line| {
        let line = if line.starts_with("        for: ") { "        for: 1s" } else { line };
        writeln!(rules, "{line}").unwrap();
        rules
    });
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/bunho.yaml"), rules).unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
    std::fs::create_dir(folder.path().join("nodes")).unwrap();
    std::fs::write(folder.path().join("nodes/test.yaml"), format!("- targets: [{}]\n", targets.join(", "))).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    start(command, port, folder).await
}

/// Sends what it is told to `/teams`, `/slack` and `/webhook` of this address, and gathers messages for a second only.
pub async fn alertmanager(receiver: &str) -> Running {
    let port = free_ports(1);
    let folder = TempDir::new().unwrap();
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    for name in ["teams", "slack", "webhook"] {
        std::fs::write(secrets.join(name), format!("{receiver}/{name}\n")).unwrap();
    }
    let configuration = replaced(
        &delivered("alertmanager/alertmanager.yml"),
        &[
            ("/etc/alertmanager/secrets", &secrets.display().to_string()),
            ("group_wait: 10s", "group_wait: 1s"),
            ("group_interval: 1m", "group_interval: 1s"),
        ],
    );
    std::fs::write(folder.path().join("alertmanager.yml"), configuration).unwrap();
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    std::fs::write(folder.path().join("templates/bunho.tmpl"), delivered("alertmanager/templates/bunho.tmpl")).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/watch/bin/alertmanager");
    assert!(program.exists(), "scripts/alertmanager.sh installs {}", program.display());
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", folder.path().join("alertmanager.yml").display()))
        .arg(format!("--storage.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.external-url=https://alerts.example.com")
        .arg("--cluster.listen-address=");
    start(command, port, folder).await
}

async fn start(mut command: Command, port: u16, folder: TempDir) -> Running {
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).current_dir(folder.path()).spawn();
    let process = process.unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup.sh installs it"));
    let mut running = Running { process, url: format!("http://127.0.0.1:{port}"), folder, client: reqwest::Client::new() };
    until("it is ready", READY_WITHIN, async || {
        if let Some(status) = running.process.try_wait().unwrap() {
            panic!("it ended with {status}: {}", running.log());
        }
        running.client.get(format!("{}/-/ready", running.url)).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    running
}

impl Running {
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What Prometheus' API answers: the `data` of a success, the error of a failure.
    pub async fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Result<Value, String> {
        let mut url = url::Url::parse(&format!("{}/api/v1/{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer.to_string()) }
    }
}

/// The text with each of these put in place of what stands there; it must stand there.
fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in\n{text}");
        text.replace(old, new)
    })
}

fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}
