//! Damaged folders: each opens with everything that was acknowledged, byte for byte, or is refused with a reason; and what
//! nobody was told of never keeps a journal from opening.
//!
//! The suite damages a bounded number of random places, `BUNHO_TEST_DAMAGE` times as many; a seed is printed and can be given
//! back with `BUNHO_TEST_SEED`.

use crate::folder_image::Image;
use crate::trim::large;
use crate::{append, read_all};
use bunho_domain::time::Millis;
use bunho_journal::{Journal, JournalError, Options, Record};
use std::path::{Path, PathBuf};

/// What was written, the folder as a kill leaves it, and how long the log was after each batch.
struct Written {
    records: Vec<(u64, Record)>,
    image: Image,
    /// Last record of each batch, and where the log ended then.
    batches: Vec<(u64, usize)>,
}

impl Written {
    fn last(&self) -> u64 {
        self.records.len() as u64
    }

    /// The last batch but one: its last record and the log's end.
    fn before_last(&self) -> (u64, usize) {
        self.batches[self.batches.len() - 2]
    }
}

/// Four batches of one to four records, and one of a single record that is so long.
async fn few(record_bytes: usize) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let mut batches = Vec::new();
    for batch in 0..5 {
        let mut commit = match batch {
            4 => journal.append(Millis(7), &large(record_bytes), None),
            _ => append(&journal, 1, batch),
        };
        for record in 0..batch % 4 {
            commit = append(&journal, 2, record);
        }
        commit.durable().await.unwrap();
        batches.push((commit.offset(), log_end(&Image::of(dir.path()))));
    }
    Written { records: read_all(&journal, 0), image: Image::of(dir.path()), batches }
}

fn log_end(image: &Image) -> usize {
    image.files[&image.last_log()].0.len()
}

/// What became of a damaged folder.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It opened with so many records, each as it was written.
    Opened(u64),
    Refused(String),
}

/// Opens a folder and compares all it holds with what was written.
fn outcome(image: &Image, written: &[(u64, Record)], what: &str) -> Outcome {
    let dir = image.write();
    open(dir.path(), written, what)
}

fn open(dir: &Path, written: &[(u64, Record)], what: &str) -> Outcome {
    let read = Journal::open(dir).and_then(|journal| {
        let mut records = Vec::new();
        while let more = journal.read(records.len() as u64, 1_000)?
            && !more.is_empty()
        {
            records.extend(more);
        }
        assert_eq!(records.len() as u64, journal.durable(), "{what}");
        Ok(records)
    });
    match read {
        Ok(records) => {
            assert!(records.len() <= written.len(), "{what}: more records than were written");
            assert!(records == written[..records.len()], "{what}: a record is not what was written");
            Outcome::Opened(records.len() as u64)
        }
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// Damage that the acknowledged records may not survive: all of them, or a refusal that leaves what is there as it is.
fn check_damage(good: &Written, damaged: &Image, path: &Path, acknowledged: u64, what: &str) -> bool {
    let dir = damaged.write();
    match open(dir.path(), &good.records, what) {
        Outcome::Opened(records) => {
            assert!(records >= acknowledged, "{what}: {records} of {acknowledged} acknowledged records, silently");
            false
        }
        Outcome::Refused(reason) => {
            assert!(!reason.is_empty());
            good.image.write_file(dir.path(), path);
            let mended = open(dir.path(), &good.records, what);
            assert_eq!(mended, Outcome::Opened(good.last()), "{what}: refused ({reason}), but opening has changed something");
            true
        }
    }
}

#[tokio::test]
async fn an_end_that_nobody_was_told_of_never_keeps_it_from_opening() {
    let good = few(8).await;
    let log = good.image.last_log();
    let (before, from) = good.before_last();
    let killed = good.image.acknowledged(before);
    let cut_off = good.image.after_power_cut(before);
    let until = log_end(&good.image);
    for length in from..=until {
        let expected = if length == until { good.last() } else { before };
        for (image, how) in [(&killed, "kill"), (&cut_off, "power cut")] {
            let what = format!("{how}, the file ends after {length} bytes of {from}..{until}");
            assert_eq!(outcome(&image.truncated(&log, length), &good.records, &what), Outcome::Opened(expected), "{what}");
            let what = format!("{how}, zeros after {length} bytes of {from}..{until}");
            let zeroed = image.zeroed(&log, length..until);
            // The last byte of a batch is not zero: so any zeros are a loss.
            assert_eq!(outcome(&zeroed, &good.records, &what), Outcome::Opened(expected), "{what}");
        }
    }
}

#[tokio::test]
async fn a_sector_that_was_not_written_is_no_damage() {
    let good = few(4_000).await;
    let log = good.image.last_log();
    let (before, from) = good.before_last();
    let until = log_end(&good.image);
    let mut missing = 0;
    // The first and the last may be shared with what is not missing.
    for sector in (from / 512 + 1)..(until / 512) {
        let hole = sector * 512..(sector + 1) * 512;
        for image in [good.image.acknowledged(before), good.image.after_power_cut(before)] {
            let what = format!("sector {sector} was not written");
            assert_eq!(outcome(&image.zeroed(&log, hole.clone()), &good.records, &what), Outcome::Opened(before), "{what}");
        }
        missing += 1;
    }
    assert!(missing >= 4, "{missing} whole sectors in the last batch");
}

/// A busy moment writes several chunks before one sync; a power cut may keep a later one and lose an earlier one.
#[tokio::test]
async fn chunks_of_one_batch_are_lost_together_and_what_was_synced_before_them_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open_with(dir.path(), Options { batch_records_max: 1, batch_bytes_max: 1 << 20 }).unwrap();
    append(&journal, 1, 0).durable().await.unwrap();
    let from = log_end(&Image::of(dir.path()));
    let mut commits: Vec<_> = (0..200).map(|_| journal.append(Millis(7), &large(900), None)).collect();
    commits.pop().unwrap().durable().await.unwrap();
    let records = read_all(&journal, 0);
    let image = Image::of(dir.path());
    let log = image.last_log();
    let until = log_end(&image);
    let sectors = (from / 512 + 1)..(until / 512);
    for sector in sectors.step_by(7) {
        let image = image.zeroed(&log, sector * 512..(sector + 1) * 512);
        let what = format!("sector {sector}");
        // Whether the first of the 200 was written alone, before the others could join, differs.
        match outcome(&image.after_power_cut(1), &records, &what) {
            Outcome::Opened(kept) => assert!(kept >= 1, "{what}"),
            Outcome::Refused(reason) => assert!(reason.contains("acknowledged"), "{what}: {reason}"),
        }
        let refused = outcome(&image.acknowledged(201), &records, &what);
        assert!(matches!(refused, Outcome::Refused(_)), "{what}: all were acknowledged, {refused:?}");
    }
    // The first is damaged and something behind it was written after its sync.
    let first = image.flipped(&log, from - 20, 3);
    assert!(
        matches!(outcome(&first.after_power_cut(0), &records, "the first"), Outcome::Refused(reason) if reason.contains("acknowledged"))
    );
}

#[tokio::test]
async fn what_was_acknowledged_is_there_or_missed() {
    let good = few(8).await;
    let log = good.image.last_log();
    let end = log_end(&good.image);
    let mut random = Random::seeded("cuts");
    let mut refused = 0;
    let cuts = 100 * factor();
    for _ in 0..cuts {
        let length = random.below(end);
        let damaged = match random.below(2) {
            0 => good.image.truncated(&log, length),
            _ => good.image.zeroed(&log, length..end),
        };
        refused += usize::from(check_damage(&good, &damaged, &log, good.last(), &format!("only {length} bytes of the log's {end}")));
    }
    println!("{refused} cuts of an acknowledged log refused");
    assert_eq!(refused, cuts, "each of them is a loss");
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_harmless_or_refused() {
    let good = few(200).await;
    let log = good.image.last_log();
    // After a power cut the witness is as old as it may be: nothing is known of the last batches but what the log itself shows.
    let cut_off = good.image.after_power_cut(1);
    // The other three: fjall's lock is empty, the spare is room for a marker, and a damaged witness has a test of its own.
    let of_store: Vec<&PathBuf> =
        good.image.files.keys().filter(|path| path.starts_with("store") && !good.image.files[*path].0.is_empty()).collect();
    let mut random = Random::seeded("flips");
    let (flips, mut refused) = (400 * factor(), 0);
    for flip in 0..flips {
        let path = if random.below(2) == 0 { &log } else { of_store[random.below(of_store.len())] };
        let (at, bit) = (random.below(good.image.files[path].0.len()), random.below(8) as u32);
        let (image, how) = if flip % 2 == 0 { (&good.image, "kill") } else { (&cut_off, "power cut") };
        let what = format!("{how}, {} byte {at} bit {bit}", path.display());
        refused += usize::from(check_damage(&good, &image.flipped(path, at, bit), path, good.last(), &what));
    }
    println!("{flips} flips: {refused} refused, the others harmless, none silent");
    assert!(refused > flips / 2, "{flips} flips, {refused} refused");
}

#[tokio::test]
async fn a_damaged_witness_costs_nothing() {
    let good = few(8).await;
    let witness = Path::new("witness");
    for at in (0..192).step_by(3) {
        let what = format!("witness byte {at}");
        assert_eq!(outcome(&good.image.flipped(witness, at, 1), &good.records, &what), Outcome::Opened(good.last()), "{what}");
    }
}

#[tokio::test]
async fn garbage_behind_the_end_costs_nothing() {
    let good = few(4_000).await;
    let log = good.image.last_log();
    let batch = good.image.files[&log].0[good.before_last().1..].to_vec();
    let random: Vec<u8> = (0..3_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    for (garbage, what) in [(&b"garbage\n"[..], "text"), (&[0xff; 700], "ones"), (&random, "noise"), (&batch, "a batch once more")] {
        let mut image = good.image.clone();
        image.bytes(&log).extend_from_slice(garbage);
        match outcome(&image, &good.records, what) {
            Outcome::Opened(records) => assert_eq!(records, good.last(), "{what}"),
            // Whole batches in the wrong order are nothing that a crash leaves.
            Outcome::Refused(reason) => assert!(what == "a batch once more" && reason.contains("out of order"), "{what}: {reason}"),
        }
    }
}

#[tokio::test]
async fn missing_emptied_swapped_and_shortened_files() {
    let good = few(8).await;
    let paths: Vec<PathBuf> = good.image.files.keys().cloned().collect();
    let mut refused = 0;
    for path in &paths {
        let mut damaged = Vec::new();
        let mut missing = good.image.clone();
        missing.files.remove(path);
        damaged.push((missing, "is missing"));
        damaged.push((good.image.truncated(path, 0), "is empty"));
        damaged.push((good.image.truncated(path, good.image.files[path].0.len() / 2), "is half as long"));
        damaged.push((good.image.zeroed(path, 0..good.image.files[path].0.len()), "is all zeros"));
        for other in paths.iter().filter(|other| *other > path && other.file_name() == path.file_name()) {
            let mut swapped = good.image.clone();
            let (one, two) = (good.image.files[path].clone(), good.image.files[other].clone());
            swapped.files.insert(path.clone(), two);
            swapped.files.insert(other.clone(), one);
            damaged.push((swapped, "is swapped with another of its name"));
        }
        for (image, how) in damaged {
            let what = format!("{} {how}", path.display());
            match outcome(&image, &good.records, &what) {
                Outcome::Opened(records) => assert_eq!(records, good.last(), "{what}"),
                Outcome::Refused(_) => refused += 1,
            }
        }
    }
    for folder in ["store", "store/keyspaces", "store/keyspaces/0", "store/keyspaces/1", "store/keyspaces/2"] {
        let dir = good.image.write();
        std::fs::remove_dir_all(dir.path().join(folder)).unwrap();
        assert!(matches!(open(dir.path(), &good.records, folder), Outcome::Refused(_)), "without {folder}");
        refused += 1;
    }
    println!("{refused} refused, the others opened with everything");
}

#[test]
fn a_store_that_was_never_finished_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::open(dir.path()).unwrap());
    // What fjall makes first; the process was killed before the rest.
    for made in [&["keyspaces"][..], &["keyspaces", "0.jnl"]] {
        std::fs::remove_dir_all(dir.path().join("store")).unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        std::fs::write(dir.path().join("store/lock"), "").unwrap();
        for name in made {
            let path = dir.path().join("store").join(name);
            if *name == "keyspaces" { std::fs::create_dir(path).unwrap() } else { std::fs::write(path, [0; 4_096]).unwrap() }
        }
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(append(&journal, 1, 1).offset(), 1);
        drop(journal);
        std::fs::remove_file(dir.path().join("witness")).unwrap();
        // Now there is something in it, and it is not thrown away.
        std::fs::remove_file(dir.path().join("store/version")).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::Corrupt { .. })));
    }
}

#[tokio::test]
async fn a_damaged_marker_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for seq in 0..7 {
        append(&journal, 1, seq).durable().await.unwrap();
    }
    let records = read_all(&journal, 0);
    let mut image = Image::of(dir.path()).acknowledged(4);
    let marker = format!("{:<63}\n", marker(6)).into_bytes();
    assert_eq!(marker.len(), 64);
    image.files.insert("poisoned".into(), (marker.clone(), 64));
    assert_eq!(outcome(&image, &records, "whole"), Outcome::Opened(5));
    for at in 0..marker.len() {
        for bit in 0..8 {
            let what = format!("marker byte {at} bit {bit}");
            match outcome(&image.flipped(Path::new("poisoned"), at, bit), &records, &what) {
                // What is behind the offset does not matter.
                Outcome::Opened(kept) => assert_eq!(kept, 5, "{what}"),
                Outcome::Refused(reason) => assert!(reason.contains("`refused_from 5`"), "{what}: {reason}"),
            }
        }
        let what = format!("marker of {at} bytes");
        match outcome(&image.truncated(Path::new("poisoned"), at), &records, &what) {
            Outcome::Opened(kept) => assert_eq!(kept, 5, "{what}"),
            Outcome::Refused(_) => {}
        }
    }
    // By hand it is written shorter; and it is not believed where it refuses what was acknowledged.
    for (text, kept) in [("refused_from 5\n", Some(4)), ("refused_from 4\n", None), ("refused_from 1", None), ("", None)] {
        image.files.insert("poisoned".into(), (text.into(), text.len() as u64));
        match outcome(&image, &records, text) {
            Outcome::Opened(found) => assert_eq!(Some(found), kept, "{text}"),
            Outcome::Refused(_) => assert_eq!(kept, None, "{text}"),
        }
    }
}

fn marker(refused: u64) -> String {
    let word = format!("refused_from {refused}");
    format!("check {:016x} {word}", xxhash_rust::xxh3::xxh3_64(word.as_bytes()))
}

/// Tables, lists of tables, a sealed log and a long one.
async fn many() -> Written {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for _ in 0..6 {
        let commits: Vec<_> = (0..200).map(|_| journal.append(Millis(7), &large(16 * 1024), None)).collect();
        for commit in commits {
            commit.durable().await.unwrap();
        }
    }
    let last = append(&journal, 1, 1);
    last.durable().await.unwrap();
    let records = read_all(&journal, 0);
    drop(journal);
    // Opened again, so that what was full is written out and the image is taken of a folder that nobody writes to.
    let journal = Journal::open(dir.path()).unwrap();
    drop(journal);
    Written { records, image: Image::of(dir.path()), batches: Vec::new() }
}

#[tokio::test]
async fn random_damage_to_a_store_with_tables() {
    let good = many().await;
    let tables: Vec<&PathBuf> = good.image.files.keys().filter(|path| path.starts_with("store/keyspaces/1/tables")).collect();
    assert!(!tables.is_empty(), "it has tables");
    assert_eq!(outcome(&good.image, &good.records, "undamaged"), Outcome::Opened(good.last()));
    let mut random = Random::seeded("damage");
    let paths: Vec<&PathBuf> =
        good.image.files.keys().filter(|path| path.starts_with("store") && !good.image.files[*path].0.is_empty()).collect();
    let (mut refused, rounds) = (0, 40 * factor());
    for _ in 0..rounds {
        let path = if random.below(2) == 0 { tables[random.below(tables.len())] } else { paths[random.below(paths.len())] };
        let length = good.image.files[path].0.len();
        // The end of a table holds what finds the rest.
        let at = if random.below(3) == 0 { length - 1 - random.below(length.min(2_000)) } else { random.below(length) };
        let (damaged, how) = match random.below(4) {
            0 => (good.image.truncated(path, at), "cut"),
            1 => (good.image.zeroed(path, at..length.min(at + 4_096)), "zeroed"),
            _ => (good.image.flipped(path, at, random.below(8) as u32), "flipped"),
        };
        let what = format!("{} {how} at byte {at} of {length}", path.display());
        match outcome(&damaged, &good.records, &what) {
            Outcome::Opened(records) => assert_eq!(records, good.last(), "{what}"),
            Outcome::Refused(_) => refused += 1,
        }
    }
    println!("{rounds} places damaged, {refused} refused, the others opened with everything");
    assert!(refused > 0);
}

fn factor() -> usize {
    std::env::var("BUNHO_TEST_DAMAGE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn seeded(name: &str) -> Self {
        use std::hash::BuildHasher;
        let given = std::env::var("BUNHO_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| std::hash::RandomState::new().hash_one(name));
        println!("{name}: BUNHO_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}
