//! Disks that damage, fill up or refuse: a start has everything that was acknowledged, or is refused with a message whose advice
//! works; and a running server never answers 201 for what is not durable.

mod full;

use crate::harness::{ADMIN_KEY, Server, until};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What is done to a folder or a file.
type Attack = fn(&Path);

/// Answered claims: users and the ids they were given.
type Answered = BTreeMap<String, String>;

/// A folder as a kill left it, and what was answered before.
struct Left {
    dir: TempDir,
    answered: Answered,
}

impl Left {
    fn copy(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(self.dir.path().join(".")).arg(dir.path()).status().unwrap();
        assert!(copied.success());
        dir
    }
}

async fn claim_some(server: &Server, answered: &mut Answered, users: std::ops::Range<u32>) {
    for user in users {
        let user = format!("u{user}");
        let (status, claim) = server.claim("drop", &user, Some("k"), json!({"quantity": 1, "attributes": {"of": user}})).await;
        assert_eq!(status, StatusCode::CREATED, "{claim}");
        answered.insert(user, claim["id"].as_str().unwrap().into());
    }
}

async fn served() -> (Server, Answered) {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 10_000, "hold_seconds": 600})).await;
    let mut answered = Answered::new();
    claim_some(&server, &mut answered, 0..30).await;
    server.until_projected().await;
    (server, answered)
}

/// The ledger has everything.
async fn caught_up() -> Left {
    let (mut server, answered) = served().await;
    server.kill();
    Left { dir: copy_of(&server), answered }
}

/// The ledger is locked by somebody else's shell; twenty claims are in the journal only.
async fn behind() -> Left {
    let (mut server, mut answered) = served().await;
    let mut shell = LockedLedger::lock(server.data());
    claim_some(&server, &mut answered, 30..50).await;
    server.kill();
    // The shell would write the write-ahead log back and remove it.
    let dir = copy_of(&server);
    shell.unlock();
    Left { dir, answered }
}

fn copy_of(server: &Server) -> TempDir {
    let dir = TempDir::new().unwrap();
    assert!(Command::new("cp").arg("-a").arg(server.data().join(".")).arg(dir.path()).status().unwrap().success());
    dir
}

/// A `sqlite3` shell that holds the ledger's write lock.
struct LockedLedger(Child);

impl LockedLedger {
    fn lock(data: &Path) -> Self {
        let mut shell = Command::new("sqlite3").arg(data.join("ledger.db")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = shell.stdin.as_mut().unwrap();
        input.write_all(b".timeout 5000\nbegin immediate;\nselect 'locked';\n").unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.as_mut().unwrap()), &mut line).unwrap();
        assert_eq!(line.trim(), "locked");
        Self(shell)
    }

    fn unlock(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// How a start ended that was to be refused.
#[derive(Debug)]
struct Refusal {
    code: i32,
    says: String,
}

fn bunho(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
    command.args(arguments).arg("--data").arg(data).env("BUNHO_ADMIN_KEY", ADMIN_KEY);
    run(command)
}

/// Runs a command to its end; a server that starts to serve is ended, and has no code.
pub fn run(mut command: Command) -> (Option<i32>, String) {
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(out.reopen_append()).stderr(out.reopen_append()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let said = fs::read_to_string(out.path()).unwrap();
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), fs::read_to_string(out.path()).unwrap());
        }
        if said.contains("serving http") || began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            return (None, said);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

trait ReopenAppend {
    fn reopen_append(&self) -> fs::File;
}

impl ReopenAppend for tempfile::NamedTempFile {
    fn reopen_append(&self) -> fs::File {
        fs::OpenOptions::new().append(true).open(self.path()).unwrap()
    }
}

/// A start that must be refused, saying all of this.
fn refused(data: &Path, says: &[&str]) -> Refusal {
    let (code, text) = bunho(data, &["serve", "--listen", "127.0.0.1:0"]);
    let code = code.unwrap_or_else(|| panic!("it serves: {text}"));
    assert!(code == 65 || code == 70, "{code}: {text}");
    for part in says {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    Refusal { code, says: text }
}

/// A start that must have all of these claims, in answers and in SQL, and no others.
async fn has_all(dir: TempDir, answered: &Answered, what: &str) {
    let mut server = Server::on(dir);
    server.restart().await;
    server.until_projected().await;
    let rows = server.sql("select user_id || ' ' || id from claims order by 1");
    let found: Answered = rows.lines().filter_map(|row| row.split_once(' ')).map(|(user, id)| (user.into(), id.into())).collect();
    assert_eq!(&found, answered, "{what}");
    assert_eq!(server.offer("drop").await["held"].as_u64(), Some(answered.len() as u64), "{what}");
    let (_, again) = server.claim("drop", "u3", Some("k"), json!({"quantity": 1, "attributes": {"of": "u3"}})).await;
    assert_eq!(again["id"].as_str(), Some(answered["u3"].as_str()), "{what}: the same key gives the same claim");
    server.assert_reconciled();
}

fn log_of(data: &Path) -> PathBuf {
    let logs = fs::read_dir(data.join("journal/store")).unwrap().map(|entry| entry.unwrap().path());
    logs.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max().unwrap()
}

/// Bytes up to the zeros that fjall keeps behind them.
fn used(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    edit(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    edit(path, |bytes| bytes[at] ^= 0x10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_costs_nothing_while_the_ledger_has_it_all() {
    let left = caught_up().await;
    let attacks: [(&str, Attack); 6] = [
        ("a bit in the middle of the log", |data| flip(&log_of(data), used(&log_of(data)) / 2)),
        ("the log's end is zeros", |data| {
            let (log, used) = (log_of(data), used(&log_of(data)));
            edit(&log, |bytes| bytes[used * 2 / 3..].fill(0));
        }),
        ("the log is cut", |data| {
            let (log, used) = (log_of(data), used(&log_of(data)));
            edit(&log, |bytes| bytes.truncate(used / 3));
        }),
        ("the log is missing", |data| fs::remove_file(log_of(data)).unwrap()),
        ("the store is missing", |data| fs::remove_dir_all(data.join("journal/store")).unwrap()),
        ("a list of tables is damaged", |data| fs::write(data.join("journal/store/keyspaces/1/current"), [0; 25]).unwrap()),
    ];
    for (what, attack) in attacks {
        let dir = left.copy();
        attack(dir.path());
        refused(dir.path(), &["journal", "bunho rebuild", "backup"]);
        let (code, text) = bunho(dir.path(), &["rebuild"]);
        assert_eq!(code, Some(0), "{what}: {text}");
        assert!(text.contains("nothing is lost"), "{what}: {text}");
        has_all(dir, &left.answered, what).await;
    }
    // Without its witness nothing is known of what it had.
    let dir = left.copy();
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    refused(dir.path(), &["the ledger is at record", "--accept-loss"]);
    let (code, text) = bunho(dir.path(), &["rebuild"]);
    assert!(code == Some(65) && text.contains("if there were any"), "{text}");
    let (code, text) = bunho(dir.path(), &["rebuild", "--accept-loss"]);
    assert_eq!(code, Some(0), "{text}");
    has_all(dir, &left.answered, "no journal at all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_end_that_only_the_journal_had_is_said_and_what_is_before_it_is_saved() {
    let left = behind().await;
    has_all(left.copy(), &left.answered, "undamaged").await;

    let dir = left.copy();
    edit(&log_of(dir.path()), |bytes| {
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        bytes.truncate(used);
        // The next write came half way.
        let half = bytes[used - 300..used - 150].to_vec();
        bytes.extend(half);
    });
    has_all(dir, &left.answered, "a torn end that nobody was told of").await;

    let dir = left.copy();
    let log = log_of(dir.path());
    flip(&log, used(&log) - 400);
    let Refusal { code, says } = refused(dir.path(), &["were acknowledged and are lost", "bunho rebuild"]);
    assert_eq!(code, 65, "{says}");
    let (code, text) = bunho(dir.path(), &["rebuild"]);
    assert!(code == Some(65) && text.contains("would be lost") && text.contains("--accept-loss"), "{text}");
    let (code, text) = bunho(dir.path(), &["rebuild", "--accept-loss"]);
    assert_eq!(code, Some(0), "{text}");
    let lost = text.lines().find_map(|line| line.strip_prefix("LOST: records ")).unwrap_or_else(|| panic!("{text}"));
    let (from, to) = lost.split_once(" to ").unwrap();
    let lost = to.trim().parse::<usize>().unwrap() + 1 - from.parse::<usize>().unwrap();
    assert!((1..20).contains(&lost), "{lost} records are lost: what is before the damage was to be saved");
    // Each of the last claims is one record.
    let kept: Answered = left
        .answered
        .iter()
        .filter(|(user, _)| user[1..].parse::<usize>().unwrap() < 50 - lost)
        .map(|(u, c)| (u.clone(), c.clone()))
        .collect();
    has_all(dir, &kept, "what was before the damage").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_ledger_or_secret_is_named_and_a_backup_helps() {
    let left = caught_up().await;
    let file_of = |name: &str| match name.strip_suffix('*') {
        Some(prefix) => {
            let (folder, prefix) = prefix.rsplit_once('/').unwrap();
            let mut names = fs::read_dir(left.dir.path().join(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            format!("{folder}/{}", names.find(|name| name.starts_with(prefix)).unwrap())
        }
        None => name.to_string(),
    };
    let attacks: [(&str, &str, Attack, &str); 12] = [
        ("ledger.db", "cut", |file| edit(file, |bytes| bytes.truncate(bytes.len() / 2)), "ledger"),
        ("ledger.db", "all zeros", |file| edit(file, |bytes| bytes.fill(0)), "ledger"),
        ("ledger.db", "other bytes", |file| edit(file, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x55)), "ledger"),
        ("ledger.db", "pages of zeros", |file| edit(file, |bytes| bytes[8_192..].fill(0)), "ledger"),
        ("ledger.db", "missing", |file| fs::remove_file(file).unwrap(), "is missing or has lost"),
        ("ledger.db", "empty", |file| fs::write(file, "").unwrap(), "is missing or has lost"),
        ("keys/ticket.key", "a flipped bit", |file| flip(file, 7), "ticket.key is damaged"),
        ("keys/ticket.key", "cut", |file| edit(file, |bytes| bytes.truncate(16)), "ticket.key is damaged"),
        ("keys/ticket.key", "missing", |file| fs::remove_file(file).unwrap(), "ticket.key is missing"),
        ("keys/pass-*", "a flipped bit", |file| flip(file, 60), "pass-"),
        ("keys/pass-*", "empty", |file| fs::write(file, "").unwrap(), "pass-"),
        ("keys/pass-*", "missing", |file| fs::remove_file(file).unwrap(), "pass-"),
    ];
    // The ledger as it is once its write-ahead log is in it, or a damaged file would be mended by that.
    let settled = Left { dir: left.copy(), answered: left.answered.clone() };
    let checkpoint = Command::new("sqlite3").arg(settled.dir.path().join("ledger.db")).arg("pragma wal_checkpoint(truncate)").output();
    assert!(checkpoint.unwrap().status.success());
    for (name, how, attack, says) in attacks {
        let dir = settled.copy();
        let file = dir.path().join(file_of(name));
        attack(&file);
        let what = format!("{name}: {how}");
        println!("{what}: {}", refused(dir.path(), &[says, "mend:", "backup"]).says.lines().next().unwrap_or_default());
        fs::copy(settled.dir.path().join(file_of(name)), &file).unwrap();
        has_all(dir, &left.answered, &what).await;
    }
    // Where there is no backup the message offers another way. The journal has all of it still.
    let dir = settled.copy();
    fs::remove_file(dir.path().join("ledger.db")).unwrap();
    refused(dir.path(), &["the API keys and accounts are lost"]);
    let (code, text) = bunho(dir.path(), &["rebuild", "--accept-loss"]);
    assert!(code == Some(0) && text.contains("admin.key"), "{text}");
    has_all(dir, &left.answered, "a ledger made anew").await;
    for name in ["keys/ticket.key", "keys/pass-*"] {
        let dir = left.copy();
        fs::remove_file(dir.path().join(file_of(name))).unwrap();
        refused(dir.path(), &["bunho rebuild --accept-loss"]);
        let (code, text) = bunho(dir.path(), &["rebuild", "--accept-loss"]);
        assert!(code == Some(0) && text.contains("a new one was made"), "{name}: {text}");
        has_all(dir, &left.answered, name).await;
    }
}

/// The write-ahead log has its own checksums; what is cut off it, the journal still has or is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_write_ahead_log_is_made_good_or_refused() {
    let left = behind().await;
    let mut opened = 0;
    for part in 0..6 {
        let dir = left.copy();
        let wal = dir.path().join("ledger.db-wal");
        let length = fs::metadata(&wal).unwrap().len() as usize;
        match part {
            0 => fs::remove_file(&wal).unwrap(),
            5 => edit(&wal, |bytes| bytes.truncate(length - 100)),
            part => flip(&wal, length * part / 5),
        }
        let what = format!("part {part} of the write-ahead log");
        let (code, text) = bunho(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
        match code {
            None => {
                opened += 1;
                has_all(dir, &left.answered, &what).await;
            }
            Some(code) => {
                assert!(code == 65 && text.contains("mend:"), "{what}: {code} {text}");
                fs::copy(left.dir.path().join("ledger.db-wal"), &wal).unwrap();
                fs::copy(left.dir.path().join("ledger.db"), dir.path().join("ledger.db")).unwrap();
                has_all(dir, &left.answered, &what).await;
            }
        }
    }
    println!("{opened} of 6 opened with everything, the others were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_told_who_is_there() {
    let server = Server::start().await;
    let pid = format!("process {}", server.pid());
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["rebuild"], &["rebuild", "--accept-loss"], &["reconcile"]] {
        let (code, text) = bunho(server.data(), command);
        assert!(code == Some(65) && text.contains(&pid), "{command:?}: {code:?} {text}");
    }
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 3})).await;
}
