//! A server of the benchmark's own: started on a free port with a new data folder, and ended by its process id.

use crate::client::Client;
use crate::exit::Failure;
use crate::target::Target;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ADMIN_KEY: &str = "bk_bench-admin-key";
/// Starting with a million claims is loading them.
const START: Duration = Duration::from_secs(120);
/// Longest wait for the ledger.
const CATCH_UP: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running server.
pub struct Server {
    program: PathBuf,
    process: Option<Child>,
    data: TempDir,
    /// Its address.
    pub target: Target,
    client: Client,
    /// What it says on standard error.
    log: Receiver<String>,
}

impl Server {
    /// Starts one with nothing in it.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(program: &Path) -> Result<Self, Failure> {
        let data = TempDir::new().map_err(|error| Failure::internal(format_args!("no temporary folder: {error}")))?;
        let (process, target, log) = spawn(program, data.path())?;
        let mut server = Self { program: program.into(), client: target.client(), process: Some(process), data, target, log };
        server.until_ready()?;
        Ok(server)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on its data; how long it took until it was ready, and what it says of it.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<(Duration, Option<String>), Failure> {
        let began = Instant::now();
        let (process, target, log) = spawn(&self.program, self.data.path())?;
        (self.process, self.client, self.target, self.log) = (Some(process), target.client(), target, log);
        self.until_ready()?;
        let took = began.elapsed();
        // It is said before the server serves, and read on another thread.
        let said = std::iter::from_fn(|| self.log.recv_timeout(Duration::from_secs(2)).ok()).find(|line| line.contains("state restored"));
        Ok((took, said))
    }

    /// One call of the administration API.
    ///
    /// # Errors
    /// It is refused.
    pub fn put(&mut self, path: &str, body: &Value) -> Result<(), Failure> {
        let bearer = format!("Bearer {ADMIN_KEY}");
        let reply = self.client.call("PUT", &format!("/admin/api/{path}"), &[("authorization", &bearer)], Some(body));
        match reply {
            Ok(reply) if matches!(reply.status, 200 | 201) => Ok(()),
            Ok(reply) => Err(Failure::unreachable(format_args!("{path} could not be made: {}", reply.refusal()))),
            Err(error) => Err(Failure::unreachable(format_args!("the server broke off: {error}"))),
        }
    }

    /// Resident bytes.
    ///
    /// # Errors
    /// There is no `/proc` to read.
    pub fn resident_bytes(&self) -> Result<u64, Failure> {
        let pid = self.process.as_ref().map_or(0, Child::id);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| Failure::internal("/proc does not tell the server's memory"))
    }

    /// Journal records up to which the ledger has everything, and how many it does not have yet.
    ///
    /// # Errors
    /// No answer.
    pub fn projected(&mut self) -> Result<(u64, u64), Failure> {
        let reply = self.client.get("/readyz", &[]).map_err(|error| Failure::unreachable(format_args!("the server broke off: {error}")))?;
        let ledger = &reply.json()["ledger"];
        Ok((ledger["projected"].as_u64().unwrap_or(0), ledger["lag"].as_u64().unwrap_or(0)))
    }

    /// Waits until the ledger has everything.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn until_projected(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        while self.projected()?.1 > 0 {
            if began.elapsed() > CATCH_UP {
                return Err(Failure::unreachable("the ledger does not catch up"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Keeps the ledger from being written to, until it is dropped. None: there is no `sqlite3` on this machine.
    #[must_use]
    pub fn hold_ledger(&self) -> Option<Held> {
        let mut process = Command::new("sqlite3")
            .arg(self.data.path().join("ledger.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut input = process.stdin.take()?;
        let output = process.stdout.take()?;
        let held = input.write_all(b".timeout 30000\nBEGIN IMMEDIATE;\nSELECT 'held';\n").is_ok() && input.flush().is_ok();
        let mut line = String::new();
        let said = BufReader::new(output).read_line(&mut line).is_ok() && line.trim() == "held";
        let lock = Held { process, input: Some(input) };
        (held && said).then_some(lock)
    }

    fn until_ready(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        while !self.client.get("/readyz", &[]).is_ok_and(|reply| reply.status == 200) {
            if began.elapsed() > START {
                return Err(Failure::unreachable("the server does not become ready"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A `sqlite3` that has begun to write and does not go on.
pub struct Held {
    process: Child,
    input: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input is the end of it, and of its transaction.
        self.input = None;
        let _ = self.process.wait();
    }
}

fn spawn(program: &Path, data: &Path) -> Result<(Child, Target, Receiver<String>), Failure> {
    let mut process = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("BUNHO_ADMIN_KEY", ADMIN_KEY)
        // Says how the state was restored, and otherwise only what is wrong.
        .env("BUNHO_LOG__LEVEL", "warn,bunho_server::node=info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::usage(format_args!("{} cannot be started: {error}", program.display())))?;
    let (sender, log) = channel();
    if let Some(errors) = process.stderr.take() {
        std::thread::spawn(move || BufReader::new(errors).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    }
    let mut lines = process.stdout.take().map(|output| BufReader::new(output).lines());
    let url = lines
        .as_mut()
        .and_then(|lines| lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.strip_prefix("serving ")?.trim().to_string())));
    // Keeps the pipe open and empty.
    std::thread::spawn(move || lines.into_iter().flatten().for_each(drop));
    let Some(url) = url else {
        let _ = process.wait();
        let said: Vec<String> = log.iter().collect();
        return Err(Failure::unreachable(format_args!("{} does not start: {}", program.display(), said.join("; "))));
    };
    Ok((process, Target::parse(&url, false)?, log))
}
