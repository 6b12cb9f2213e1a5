//! Disks that refuse: read-only, full, or with a limit on files.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    refused(&dir.path().join("file/data"), &["data folder", "mend:"]);
    refused(&dir.path().join("file"), &["data folder", "mend:"]);
    let left = caught_up().await;
    let Some(read_only) = ReadOnly::mount(left.dir.path()) else { return };
    refused(left.dir.path(), &["data folder", "Read-only"]);
    drop(read_only);
    // Only what is below is read-only.
    let dir = left.copy();
    for inside in ["journal", "keys"] {
        let Some(_read_only) = ReadOnly::mount(&dir.path().join(inside)) else { return };
        if inside == "journal" {
            refused(dir.path(), &["journal", "Read-only", "mend:"]);
        }
    }
    has_all(dir, &left.answered, "writable again").await;
}

/// A folder mounted over itself, for reading only: root ignores a file's mode. Where mounting is not allowed the test says so.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(path: &Path) -> Option<Self> {
        let bind = mount(&["--bind"], path.as_os_str(), path) && mount(&["-o", "remount,ro,bind"], path.as_os_str(), path);
        bind.then(|| Self(path.into()))
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

fn mount(options: &[&str], what: &std::ffi::OsStr, at: &Path) -> bool {
    let output = Command::new("mount").args(options).arg(what).arg(at).output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    if !done {
        println!("SKIPPED: mount {options:?} is not allowed here, so this disk is not tested: {output:?}");
    }
    done
}

/// A small disk of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m")], "bunho-test".as_ref(), at).then(|| Self(at.into()))
    }

    /// Takes all space but so many bytes.
    fn fill_but(&self, bytes: usize) {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4_096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(bytes as u64)).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: where a test fails, a server may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_under_claims_loses_none_that_was_answered() {
    let dir = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("journal"), 24) else { return };
    let mut server = Server::on(dir);
    server.restart().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 100_000})).await;
    let mut answered = Answered::new();
    claim_some(&server, &mut answered, 0..20).await;
    disk.fill_but(64 * 1024);
    let mut doubtful = 0;
    for user in 20..10_000 {
        let user = format!("u{user}");
        let request =
            server.request(reqwest::Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", &user).header("idempotency-key", "k");
        match request.json(&json!({"quantity": 1, "attributes": {"of": "x".repeat(2_000)}})).send().await {
            Ok(response) if response.status() == StatusCode::CREATED => {
                let claim: Value = response.json().await.unwrap();
                answered.insert(user, claim["id"].as_str().unwrap().into());
            }
            Ok(response) => {
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
                doubtful += 1;
            }
            Err(_) => break,
        }
    }
    assert_eq!(server.ended().await, 70, "a journal that cannot write ends the process");
    assert!(answered.len() > 20 && answered.len() < 9_000, "{} answered, {doubtful} in doubt", answered.len());
    println!("{} answered, {doubtful} in doubt", answered.len());
    // Still full: refused, or started, but not damaged by the attempt.
    disk.fill_but(0);
    let (code, text) = bunho(server.data(), &["serve", "--listen", "127.0.0.1:0"]);
    assert!(matches!(code, None | Some(65 | 70)), "{code:?} {text}");
    disk.free();
    server.restart().await;
    server.until_projected().await;
    let rows = server.sql("select user_id || ' ' || id from claims order by 1");
    let found: Answered = rows.lines().filter_map(|row| row.split_once(' ')).map(|(user, id)| (user.into(), id.into())).collect();
    assert_eq!(found, answered, "exactly what was answered");
    server.assert_reconciled();
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_ledger_does_not_stop_claims() {
    let dir = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&elsewhere.path().join("disk"), 8) else { return };
    fs::write(disk.0.join("ledger.db"), "").unwrap();
    std::os::unix::fs::symlink(disk.0.join("ledger.db"), dir.path().join("ledger.db")).unwrap();
    let mut server = Server::on(dir);
    server.restart().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 100_000})).await;
    let mut answered = Answered::new();
    claim_some(&server, &mut answered, 0..10).await;
    server.until_projected().await;
    disk.fill_but(0);
    claim_some(&server, &mut answered, 10..210).await;
    let lagging = async || {
        let text = server.request(reqwest::Method::GET, "/metrics").bearer_auth(ADMIN_KEY).send().await.unwrap().text().await.unwrap();
        text.lines().any(|line| {
            line.starts_with("bunho_")
                && line.contains("lag")
                && line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).is_some_and(|n| n > 0.0)
        })
    };
    until("the lag shows", Duration::from_secs(60), lagging).await;
    assert_eq!(server.offer("drop").await["held"].as_u64(), Some(210), "claims go on");
    disk.free();
    let rows = async || server.sql("select count(*) from claims") == "210";
    until("the ledger has caught up", Duration::from_secs(30), rows).await;
    server.assert_reconciled();
    server.kill();
}

/// A limit on the size of a file, which needs nobody's permission: writing beyond it fails as on a full disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_not_grow_loses_nothing_that_was_answered() {
    let (mut server, mut answered) = served().await;
    assert_eq!(server.stop(), 0);
    // The journal's log grows, the ledger has room for its checkpointed pages. In blocks of 1,024 bytes, as bash counts.
    let data = server.data().to_path_buf();
    let limit = (used(&log_of(&data)).max(fs::metadata(data.join("ledger.db")).unwrap().len() as usize) + 96 * 1024) / 1_024;
    let mut command = Command::new("bash");
    command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\""));
    command.arg(env!("CARGO_BIN_EXE_bunho")).arg(&data).env("BUNHO_ADMIN_KEY", ADMIN_KEY).env("BUNHO_LOG__LEVEL", "off");
    let started = crate::harness::launch(command);
    let mut process = started.process;
    let client = reqwest::Client::new();
    let mut doubtful = 0;
    for user in 100..5_000 {
        let user = format!("u{user}");
        let request =
            client.post(format!("{}/v1/offers/drop/claims", started.url)).header("x-bunho-user", &user).header("idempotency-key", "k");
        match request.json(&json!({"quantity": 1, "attributes": {"of": "x".repeat(1_000)}})).send().await {
            Ok(response) if response.status() == StatusCode::CREATED => {
                let claim: Value = response.json().await.unwrap();
                answered.insert(user, claim["id"].as_str().unwrap().into());
            }
            Ok(_) => doubtful += 1,
            Err(_) => break,
        }
    }
    let code = tokio::task::spawn_blocking(move || process.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(70), "{} answered, {doubtful} in doubt", answered.len());
    server.restart().await;
    server.until_projected().await;
    let rows = server.sql("select user_id || ' ' || id from claims order by 1");
    let found: Answered = rows.lines().filter_map(|row| row.split_once(' ')).map(|(user, id)| (user.into(), id.into())).collect();
    assert_eq!(found, answered, "exactly what was answered");
    server.assert_reconciled();
}

/// Where even the marker cannot be written, what was answered is there; what was in doubt may be.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_that_cannot_be_marked_loses_nothing_that_was_answered() {
    for point in ["journal::after_write=5*off->return", "journal::sync=5*off->return", "journal::before_write=5*off->return"] {
        let (mut server, mut answered) = served().await;
        assert_eq!(server.stop(), 0);
        server.set_environment(&[("FAILPOINTS", point)]);
        server.restart().await;
        let spare = server.data().join("journal/spare");
        fs::remove_file(&spare).unwrap();
        fs::create_dir(&spare).unwrap();
        let mut doubtful = Vec::new();
        for user in 100..200 {
            let user = format!("u{user}");
            let request = server.request(reqwest::Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", &user);
            match request.json(&json!({"quantity": 1})).send().await {
                Ok(response) if response.status() == StatusCode::CREATED => {
                    let claim: Value = response.json().await.unwrap();
                    answered.insert(user, claim["id"].as_str().unwrap().into());
                }
                Ok(_) => doubtful.push(user),
                Err(_) => break,
            }
        }
        assert_eq!(server.ended().await, 70, "{point}");
        fs::remove_dir(&spare).unwrap();
        server.set_environment(&[]);
        server.restart().await;
        server.until_projected().await;
        let rows = server.sql("select user_id || ' ' || id from claims order by 1");
        let mut found: Answered = rows.lines().filter_map(|row| row.split_once(' ')).map(|(user, id)| (user.into(), id.into())).collect();
        found.retain(|user, _| !doubtful.contains(user));
        assert_eq!(found, answered, "{point}");
        server.assert_reconciled();
    }
}
