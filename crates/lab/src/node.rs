//! The real server as the lab starts it: a child of its own on a fixed port, killed and started again on the same data.

use bunho_load::client::Client;
use bunho_load::exit::Failure;
use bunho_load::target::Target;
use serde_json::json;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ADMIN_KEY: &str = "bk_lab-admin-key";
/// A first start makes a topic, tables and keys.
const START: Duration = Duration::from_secs(90);

/// A Bunho.
pub struct Node {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Child>,
}

impl Node {
    /// Starts one with an offer of so many units.
    ///
    /// # Errors
    /// It does not start, or refuses the offer.
    pub fn start(program: PathBuf, folder: PathBuf, port: u16, settings: Vec<(String, String)>, quantity: u32) -> Result<Self, Failure> {
        std::fs::create_dir_all(&folder).map_err(|error| Failure::internal(format_args!("{}: {error}", folder.display())))?;
        let mut node = Self { program, folder, port, settings, process: None };
        node.run()?;
        let bearer = format!("Bearer {ADMIN_KEY}");
        let offer = json!({"kind": "coupon", "quantity": quantity});
        let made = node.client()?.call("PUT", "/admin/api/offers/lab", &[("authorization", &bearer)], Some(&offer));
        match made {
            Ok(reply) if matches!(reply.status, 200 | 201) => Ok(node),
            Ok(reply) => Err(Failure::unreachable(format_args!("Bunho refuses the offer: {}", reply.refusal()))),
            Err(error) => Err(Failure::unreachable(format_args!("Bunho broke off: {error}"))),
        }
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// SIGKILL, and started again on what it had written.
    ///
    /// # Errors
    /// It does not come back.
    pub fn kill_and_start(&mut self) -> Result<(), Failure> {
        self.end();
        self.run()
    }

    fn run(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"));
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port), "--data"]).arg(self.folder.join("data"));
        command
            .env("BUNHO_ADMIN_KEY", ADMIN_KEY)
            .env("BUNHO_LOG__LEVEL", "warn")
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.map_or_else(|_| Stdio::null(), Stdio::from)).process_group(0);
        let process = command.spawn().map_err(|error| {
            Failure::usage(format_args!(
                "{} cannot be started ({error}); make build makes it, and --bunho says where it is",
                self.program.display()
            ))
        })?;
        self.process = Some(process);
        let (began, mut client) = (Instant::now(), self.client()?);
        while !client.get("/readyz", &[]).is_ok_and(|reply| reply.status == 200) {
            let ended = self.process.as_mut().is_some_and(|process| !matches!(process.try_wait(), Ok(None)));
            if ended || began.elapsed() > START {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it says nothing");
                return Err(Failure::unreachable(format_args!("Bunho does not become ready: {last}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Target::parse(&self.url(), false)?.client())
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}
