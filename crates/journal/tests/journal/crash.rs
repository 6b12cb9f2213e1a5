//! `kill -9` at any moment: what was reported durable is there, in order, without gaps.

use crate::trim::large;
use crate::{append, process, read_all, written};
use bunho_domain::time::Millis;
use bunho_journal::Journal;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Write};

const ROUNDS: u32 = 20;
const WRITERS: u32 = 4;
/// Reports a round is killed after, at most.
const REPORTS_MAX: u32 = 1_500;
/// Between two reports of a writer: records that make the store write out tables and change files, one of which it does
/// every 16 MiB, thus once in 256 reports.
const LARGE_RECORDS: usize = 4;
const LARGE_BYTES: usize = 16 * 1024;
/// Records that stay when the child trims.
const KEPT: u64 = 2_000;

#[test]
fn a_killed_process_loses_nothing_it_reported() {
    let dir = tempfile::tempdir().unwrap();
    // Where a kill hits depends on the machine anyway; the seed only spreads the kills.
    let random = RandomState::new();
    let mut reported: HashMap<u64, (u32, u32)> = HashMap::new();
    for round in 0..ROUNDS {
        let mut child = process::start("crash::child", dir.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reports = random.hash_one(round) as u32 % REPORTS_MAX;
        let mut seen = 0;
        // The rest of what was reported before the kill counts too.
        for line in lines {
            let line = line.unwrap();
            let Some(report) = line.strip_prefix("durable ") else { continue };
            let fields: Vec<u64> = report.split(' ').map_while(|field| field.parse().ok()).collect();
            // The last line may be cut short.
            if let [offset, writer, seq, 0] = fields[..] {
                reported.insert(offset, (writer as u32, seq as u32));
            }
            seen += 1;
            if seen == reports + 1 {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        verify(&Journal::open(dir.path()).unwrap(), &reported, round);
    }
    assert!(reported.len() > ROUNDS as usize);
}

fn verify(journal: &Journal, reported: &HashMap<u64, (u32, u32)>, round: u32) {
    let oldest = journal.oldest().unwrap();
    let records: HashMap<u64, _> = read_all(journal, oldest - 1).into_iter().collect();
    for (offset, what) in reported.iter().filter(|&(&offset, _)| offset >= oldest) {
        let record = records.get(offset).unwrap_or_else(|| panic!("round {round}: record {offset} was reported and is lost"));
        assert_eq!(written(record), *what, "round {round}, record {offset}");
    }
}

#[test]
fn child() {
    let Some(dir) = process::dir() else { return };
    let journal = Journal::open(&dir).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let journal = journal.clone();
                tokio::spawn(async move {
                    for seq in 0..u32::MAX {
                        for _ in 0..LARGE_RECORDS {
                            journal.append(Millis(0), &large(LARGE_BYTES), None);
                        }
                        let commit = append(&journal, writer, seq);
                        commit.durable().await.unwrap();
                        let line = format!("durable {} {writer} {seq} 0\n", commit.offset());
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                        if seq % 64 == 63 {
                            journal.trim(journal.durable().saturating_sub(KEPT)).unwrap();
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}
