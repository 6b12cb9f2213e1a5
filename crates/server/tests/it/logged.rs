//! A server whose log is kept, and that can be told to read its configuration again.

use crate::certificates::{Authority, Pair};
use crate::harness::{ADMIN_KEY, Started, launch, until};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub const SOON: Duration = Duration::from_secs(60);

pub struct Logged {
    dir: TempDir,
    pub started: Started,
    /// Where it is asked: its address, or one that leads there through TLS.
    pub url: String,
    client: Client,
}

/// A server's command, with a configuration file of its own.
pub fn command(dir: &Path, settings: &str, environment: &[(&str, &str)]) -> Command {
    std::fs::write(dir.join("bunho.toml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(dir.join("bunho.toml")).arg("--data").arg(dir.join("data"));
    command.env("BUNHO_ADMIN_KEY", ADMIN_KEY).envs(environment.iter().copied()).stdin(Stdio::null());
    command
}

impl Logged {
    pub async fn start(settings: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_in(TempDir::new().unwrap(), None, settings, environment).await
    }

    pub async fn start_in(dir: TempDir, trusts: Option<(&Authority, Option<&Pair>)>, settings: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = command(dir.path(), settings, environment);
        command.stderr(File::create(dir.path().join("log")).unwrap());
        let started = launch(command);
        let url = match trusts {
            None => started.url.clone(),
            Some((authority, shows)) => {
                let address = started.url.strip_prefix("https://").expect("it is encrypted").parse().unwrap();
                authority.through(shows, address).await
            }
        };
        let client = Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        let server = Self { started, url, dir, client };
        let ready = async || server.request(Method::GET, "/readyz").send().await.is_ok_and(|answer| answer.status() == StatusCode::OK);
        until("the server is ready", Duration::from_secs(60), ready).await;
        server
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub fn configure(&self, settings: &str) {
        std::fs::write(self.dir.path().join("bunho.toml"), settings).unwrap();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.started.process), signal).unwrap();
    }

    /// SIGHUP, and waits until the log has one more line with these words.
    pub async fn reread(&self, words: &str) {
        let seen = || self.log().matches(words).count();
        let before = seen();
        self.signal(rustix::process::Signal::HUP);
        until(words, SOON, async || seen() > before).await;
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.request(method, &format!("/admin/api/{path}")).bearer_auth(ADMIN_KEY);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        crate::harness::read(request.send().await.unwrap()).await
    }

    /// A number of `/metrics`, by its whole name with labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let page = self.request(Method::GET, "/metrics").bearer_auth(ADMIN_KEY).send().await.unwrap().text().await.unwrap();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// SIGTERM; the exit code, which must come soon.
    pub async fn stop(&mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        let mut code = None;
        until("the server ends", SOON, async || {
            code = self.started.process.try_wait().unwrap();
            code.is_some()
        })
        .await;
        code.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.started.process.kill();
        let _ = self.started.process.wait();
    }
}
