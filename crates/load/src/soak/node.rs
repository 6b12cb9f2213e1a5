//! The server under soak: the real program on a folder that outlives each of its lives.

use super::plan::Death;
use crate::client::Client;
use crate::exit::Failure;
use crate::target::Target;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the first start makes its admin key.
pub(super) const ADMIN_KEY: &str = "bk_soak-admin-key";
/// Starting is reading the ledger and the journal's end; other programs may have the processor.
const START: Duration = Duration::from_secs(120);
/// The server gives requests ten seconds to finish, and closes its books.
const STOP: Duration = Duration::from_secs(60);
/// How long the ledger may take for what the journal has.
const CATCH_UP: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The program, its folder, and the process where it runs.
pub(super) struct Node {
    program: PathBuf,
    folder: PathBuf,
    process: Option<Child>,
    target: Target,
}

impl Node {
    /// Starts it in a folder, which may hold a life before.
    pub(super) fn start(program: &Path, folder: &Path, settings: &str) -> Result<Self, Failure> {
        let nowhere = Target { address: ([127, 0, 0, 1], 0).into(), host: String::new() };
        let mut node = Self { program: program.into(), folder: folder.into(), process: None, target: nowhere };
        node.start_again(settings)?;
        Ok(node)
    }

    /// Starts it again, with other settings, and waits until it is ready; how long that took.
    pub(super) fn start_again(&mut self, settings: &str) -> Result<Duration, Failure> {
        let began = Instant::now();
        self.write_settings(settings)?;
        let log = self.log()?;
        let mut process = Command::new(&self.program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(self.settings_file())
            .arg("--data")
            .arg(self.data())
            .env("BUNHO_ADMIN_KEY", ADMIN_KEY)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| Failure::usage(format_args!("{} cannot be started: {error}", self.program.display())))?;
        let mut lines = process.stdout.take().map(|output| BufReader::new(output).lines());
        let url = lines.as_mut().and_then(|lines| {
            lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.strip_prefix("serving ")?.trim().to_string()))
        });
        // Keeps the pipe open and empty.
        std::thread::spawn(move || lines.into_iter().flatten().for_each(drop));
        let Some(url) = url else {
            let code = process.wait().ok().and_then(|status| status.code());
            return Err(Failure::unreachable(format_args!("the server does not start (exit {code:?}); see {}", self.log_file().display())));
        };
        (self.process, self.target) = (Some(process), Target::parse(&url, false)?);
        let mut client = self.client();
        while !client.get("/readyz", &[]).is_ok_and(|reply| reply.status == 200) {
            if began.elapsed() > START {
                return Err(Failure::unreachable("the server does not become ready"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(began.elapsed())
    }

    /// Ends it; whether it ended as it should.
    pub(super) fn end(&mut self, death: Death) -> Result<(), String> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if death == Death::Kill {
            return process.kill().and_then(|()| process.wait()).map(drop).map_err(|error| format!("SIGKILL: {error}"));
        }
        kill_process(Pid::from_child(&process), Signal::TERM).map_err(|error| format!("SIGTERM: {error}"))?;
        let began = Instant::now();
        loop {
            match process.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("after SIGTERM the server ended with {status}")),
                Ok(None) if began.elapsed() < STOP => std::thread::sleep(LOOK_AGAIN),
                _ => {
                    let _ = process.kill().and_then(|()| process.wait());
                    return Err(format!("after SIGTERM the server did not end within {} s", STOP.as_secs()));
                }
            }
        }
    }

    /// Whether it ended by itself, which it never should.
    pub(super) fn is_gone(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)))
    }

    /// Has it read its settings again, if it is one that listens to SIGHUP: others would end by it. Whether it was asked.
    pub(super) fn reload(&self, settings: &str) -> Result<bool, Failure> {
        let Some(process) = &self.process else { return Ok(false) };
        if !catches_hangup(process.id()) {
            return Ok(false);
        }
        self.write_settings(settings)?;
        Ok(kill_process(Pid::from_child(process), Signal::HUP).is_ok())
    }

    /// Waits until the ledger has what the journal had when this was called.
    pub(super) fn until_projected(&self) -> Result<(), String> {
        let (mut client, began, mut wanted) = (self.client(), Instant::now(), None);
        while began.elapsed() < CATCH_UP {
            if let Ok(reply) = client.get("/readyz", &[]) {
                let parts = reply.json();
                let durable = parts["journal"]["durable"].as_u64();
                wanted = wanted.or(durable);
                if wanted.is_some() && parts["ledger"]["projected"].as_u64() >= wanted {
                    return Ok(());
                }
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(format!("the ledger did not catch up within {} s", CATCH_UP.as_secs()))
    }

    /// `bunho reconcile`: of the running server, or of the folder of one that has ended. How many claims were compared.
    pub(super) fn reconcile(&self) -> Result<u64, String> {
        let mut command = Command::new(&self.program);
        command.args(["reconcile", "--json"]);
        match self.process {
            Some(_) => command.args(["--url", &format!("http://{}", self.target.host), "--key", ADMIN_KEY]),
            None => command.arg("--data").arg(self.data()),
        };
        let output = command.output().map_err(|error| format!("bunho reconcile cannot be started: {error}"))?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match (output.status.code(), report["compared"].as_u64()) {
            (Some(0), Some(compared)) => Ok(compared),
            (code, _) => Err(format!(
                "bunho reconcile ended with {code:?}: {} {}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    /// Its process id; 0: it does not run.
    pub(super) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Child::id)
    }

    pub(super) fn client(&self) -> Client {
        self.target.client()
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn settings_file(&self) -> PathBuf {
        self.folder.join("bunho.toml")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn write_settings(&self, settings: &str) -> Result<(), Failure> {
        let file = self.settings_file();
        std::fs::write(&file, settings).map_err(|error| Failure::internal(format_args!("{} cannot be written: {error}", file.display())))
    }

    fn log(&self) -> Result<File, Failure> {
        let file = self.log_file();
        let opened = OpenOptions::new().create(true).append(true).open(&file);
        opened.map_err(|error| Failure::internal(format_args!("{} cannot be written: {error}", file.display())))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.end(Death::Kill);
    }
}

/// SIGHUP ends a process that has not said what to do with it.
fn catches_hangup(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    // Signal 1 is the lowest bit.
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
