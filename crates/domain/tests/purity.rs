//! The domain stays a function: nothing in its dependencies or sources can read, wait, write or tell.

use std::path::{Path, PathBuf};

/// All that the rules may be built from. Each is a data structure or a calculation.
const ALLOWED: [&str; 6] = ["base64", "hashbrown", "hmac", "sha2", "thiserror", "uuid"];

/// What would let the world in.
const FORBIDDEN: [&str; 8] = ["async fn", "std::fs", "std::net", "std::env", "serde::", "tracing::", "SystemTime", "std::time::Instant"];

#[test]
fn the_domain_depends_on_nothing_that_touches_the_world() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
            assert!(!line.starts_with("[dependencies."), "write {line} as one line under [dependencies], where this test reads it");
            assert!(!line.starts_with("[target"), "no dependency on a platform: {line}");
            assert!(line != "[build-dependencies]", "nothing runs while the domain is built");
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            assert!(ALLOWED.contains(&name), "{name} is not on the list of what the domain may depend on");
            found.push(name.to_owned());
        }
    }
    assert!(!found.is_empty(), "the [dependencies] table was not found");
}

#[test]
fn the_sources_name_nothing_that_touches_the_world() {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    assert!(files.len() > 5, "the sources were not found");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // Documentation may name what the domain does not do.
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in FORBIDDEN {
                assert!(!line.contains(word), "{}:{}: {word}", file.display(), number + 1);
            }
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}
