//! Reading `/metrics` as Prometheus does.

use crate::harness::{Server, until};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A slow machine under a whole test suite.
pub const SOON: Duration = Duration::from_secs(30);

/// The page of one node.
pub async fn page_of(server: &Server, node: usize) -> String {
    let answer = server.client.get(format!("{}/metrics", server.urls()[node])).send().await.unwrap();
    assert_eq!(answer.status(), reqwest::StatusCode::OK);
    answer.text().await.unwrap()
}

pub async fn page(server: &Server) -> String {
    page_of(server, 0).await
}

/// The value of a sample.
pub fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

pub async fn until_it_says(server: &Server, sample: &str, expected: f64) {
    until(&format!("{sample} is {expected}"), SOON, async || value(&page(server).await, sample) == Some(expected)).await;
}

/// What `promtool check metrics` says of a page; it also knows how names should end.
pub fn checked_by_prometheus(page: &str) {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().expect("promtool is installed: scripts/setup.sh does so");
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{}\n{said}\n{page}", output.status);
}
