//! Ways to die that are no crowd's: a rebuild, a repair, a first start.

use super::clients::{As, answer_of};
use super::mill::{END, Ending, Mill, SIGKILL, expected};
use crate::harness::{launch, try_launch, until};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

impl Mill {
    pub(super) fn rebuild(&self, armed: &str) -> ExitStatus {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
        let output = command.arg("rebuild").arg("--data").arg(self.server.data()).env("FAILPOINTS", armed).output().unwrap();
        expected(output.status, &[String::from_utf8_lossy(&output.stderr).into_owned()])
    }

    /// Somebody has edited the ledger by hand; a repair writes the engine's claim over it and is killed.
    pub(super) async fn repair(&mut self, armed: &str) -> ExitStatus {
        self.server.set_environment(&[("FAILPOINTS", armed)]);
        if let Err((status, lines)) = self.server.try_launch() {
            return expected(status, &lines);
        }
        let caller = self.caller();
        if let Err(status) = self.check(&caller).await {
            return expected(status, &[]);
        }
        let edit = format!("update claims set attributes = '{{\"by\":{}}}' where offer_id = 'mended'", self.random.below(1 << 30));
        let edited = Command::new("sqlite3").args(["-cmd", ".timeout 5000"]).arg(self.server.data().join("ledger.db")).arg(edit).output();
        assert!(edited.unwrap().status.success());
        let _ = caller.call(As::Service, Method::POST, "/admin/api/reconcile?repair=true", Some(json!({}))).await;
        self.end(Ending::Itself).await
    }

    /// An empty folder, started twice: once until the point, once for good. Whoever starts it gets in, and finds the demo.
    pub(super) async fn first_start(&mut self, armed: &str) -> bool {
        let folder = TempDir::new().unwrap();
        let command = |failpoints: Option<&str>| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
            command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
            command.env_remove("BUNHO_ADMIN_KEY").env("BUNHO_LOG__LEVEL", "error");
            command.envs(failpoints.map(|armed| ("FAILPOINTS", armed)));
            command
        };
        let struck = match try_launch(command(Some(armed))) {
            Err((status, lines)) => expected(status, &lines).signal() == Some(SIGKILL),
            Ok(mut started) => {
                started.process.kill().unwrap();
                started.process.wait().unwrap();
                false
            }
        };
        let mut started = launch(command(None));
        let client = Client::builder().timeout(Duration::from_secs(8)).build().unwrap();
        let ready =
            async || answer_of(client.get(format!("{}/readyz", started.url))).await.is_some_and(|(status, _)| status == StatusCode::OK);
        until("the new server is ready", END, ready).await;
        let path = folder.path().join("admin.key");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let key = std::fs::read_to_string(path).unwrap().trim().to_string();
        let (status, offers) = answer_of(client.get(format!("{}/admin/api/offers", started.url)).bearer_auth(&key)).await.unwrap();
        assert_eq!((status, offers["offers"].as_array().unwrap().len()), (StatusCode::OK, 7), "{offers}");
        let claim = client.post(format!("{}/v1/offers/welcome-coupon/claims", started.url)).header("x-bunho-user", "first");
        let (status, claim) = answer_of(claim.json(&json!({"quantity": 1}))).await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "{claim}");
        started.process.kill().unwrap();
        started.process.wait().unwrap();
        struck
    }
}
