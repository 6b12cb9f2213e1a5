//! Every input that was kept, and seeded mutations of them. `BUNHO_TEST_SEED` has a run again.

use bunho_fuzzing::{TARGETS, Target};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What every mutation may put in: ends of ranges, and the marks of the formats.
const TOKENS: &[&str] = &[
    "\0",
    "\u{7f}",
    "\u{feff}",
    "\n\n",
    "\r\n",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    ".",
    "-",
    "=",
    "%00",
    "%ff",
    "&",
    ";",
    "/..",
    "null",
    "true",
    "0",
    "-1",
    "1e300",
    "0.5",
    "4294967296",
    "18446744073709551616",
    "9007199254740993",
    "\\ud800",
    "\u{1F469}",
    "none",
    "HS256",
];

#[test]
fn what_was_found_stays_mended() {
    let seed = std::env::var("BUNHO_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64));
    println!("replay: BUNHO_TEST_SEED={seed}");
    for target in TARGETS {
        let corpus = corpus(target);
        for (path, bytes) in &corpus {
            run(target, bytes, &path.display().to_string());
        }
        // Each target has its own numbers, so that one can be had again without the others.
        let mut random = Random(seed | 1);
        for round in 0..target.mutations {
            let bytes = mutated(&corpus, &mut random);
            run(target, &bytes, &format!("mutation {round} of seed {seed}"));
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_runs_under_the_fuzzer() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(listed("corpus"), names);
    assert_eq!(listed("fuzz_targets").iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect::<BTreeSet<_>>(), names);
}

fn listed(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(root().join("corpus").join(target.name)).expect("every target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has a corpus", target.name);
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

fn run(target: &Target, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        panic!("{}, {what}: {:?}", target.name, String::from_utf8_lossy(bytes));
    }
}

fn mutated(corpus: &[(PathBuf, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + 1 + random.below(8)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes())),
            2 => drop(bytes.splice(at..end, TOKENS[random.below(TOKENS.len())].bytes())),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            _ => {
                let other = &corpus[random.below(corpus.len())].1;
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound as u64) as usize
    }
}
