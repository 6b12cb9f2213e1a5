//! The real `bunho-load` as a process: signals, exit codes, and what it may not know.
//!
//! What it plays against a real server is tested where that server is: `crates/server/tests/it/load.rs`.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says 200 to everything; after so many answers, nothing more.
fn answers(most: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let (mut buffer, mut said) = ([0; 4_096], 0);
                while let Ok(1..) = stream.read(&mut buffer) {
                    if said < most && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").is_err() {
                        return;
                    }
                    said += 1;
                }
            });
        }
    });
    format!("http://{address}")
}

/// The program, and what it says on standard error, line by line.
fn start(arguments: &[&str]) -> (Child, Receiver<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho-load"));
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    (child, lines)
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

/// Waits for a line of progress of this second.
fn until_second(lines: &Receiver<String>, second: u64) {
    while !lines.recv_timeout(PATIENCE).unwrap().starts_with(&format!("{second:>4} s ")) {}
}

#[test]
fn one_ctrl_c_ends_a_run_with_its_report() {
    let target = answers(usize::MAX);
    let (mut child, lines) = start(&["null", "--target", &target, "--vus", "4", "--connections", "4", "--duration", "10m", "--json", "-"]);
    until_second(&lines, 1);
    interrupt(&child);
    let mut json = String::new();
    child.stdout.take().unwrap().read_to_string(&mut json).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["end"], "interrupted");
    assert!(json["calls"]["null"]["count"].as_u64() > Some(100), "{}", json["calls"]);
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    // On a busy machine the second one may come when the run has ended. A program that takes no notice of it ends each run like that.
    let mut codes = (0..5).map(|_| code_after_two_ctrl_c());
    assert_eq!(codes.find(|code| *code != Some(0)), Some(Some(130)));
}

fn code_after_two_ctrl_c() -> Option<i32> {
    // Each connection falls silent after ten answers, so the first Ctrl-C has calls to wait for.
    let target = answers(10);
    let (mut child, lines) = start(&["null", "--target", &target, "--vus", "4", "--connections", "4", "--duration", "10m"]);
    until_second(&lines, 1);
    interrupt(&child);
    // Five seconds are given to calls under way; the second Ctrl-C comes within them, after the first was taken.
    until_second(&lines, 2);
    interrupt(&child);
    child.wait().unwrap().code()
}

#[test]
fn mistakes_have_exit_codes() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&[], 64),
        (&["dance"], 64),
        (&["null", "--connections", "0"], 64),
        (&["null", "--target", "http://127.0.0.1:1"], 69),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bunho-load")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn it_knows_nothing_of_bunho_but_http() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let dependencies = manifest.split_once("[dependencies]").unwrap().1;
    assert!(
        dependencies.contains("httparse") && !dependencies.contains("bunho-"),
        "an outside client may depend on no other crate of the workspace"
    );
}
