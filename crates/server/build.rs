//! Builds the pages of `web/dist` into the binary. `make web` makes them there; without them (the inner loop of one crate, a machine without Node.js) the
//! server is built all the same and says on each page how to get it.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What Vite writes of each entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    file: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    is_entry: bool,
    #[serde(default)]
    css: Vec<String>,
}

fn main() {
    let dist = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());
    let strings = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../web/src/wait/strings");
    println!("cargo::rerun-if-changed={}", strings.display());
    let code = table(&dist) + &languages(&strings);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("assets.rs"), code).expect("OUT_DIR can be written");
}

/// Constants for `src/assets.rs`: the files of `dist/app` with their compressed forms, which entry needs which of them, and the waiting page's two texts.
fn table(dist: &Path) -> String {
    let (app, wait) = (dist.join("app"), dist.join("wait"));
    let mut code = String::new();
    let mut files = String::new();
    let mut entries = String::new();
    for chunk in manifest(&app) {
        if chunk.is_entry {
            writeln!(entries, "    Entry {{ page: {:?}, script: {:?}, styles: &{:?} }},", chunk.name, chunk.file, chunk.css)
                .expect("a String grows");
        }
    }
    for path in listed(&app, &["js", "css", "svg"]) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("Vite writes plain names");
        let with = |ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
        writeln!(
            files,
            "    File {{ name: {name:?}, plain: include_bytes!({path:?}), gzip: include_bytes!({:?}), brotli: include_bytes!({:?}) }},",
            with(".gz"),
            with(".br"),
        )
        .expect("a String grows");
    }
    writeln!(code, "pub(crate) static FILES: &[File] = &[\n{files}];").expect("a String grows");
    writeln!(code, "pub(crate) static ENTRIES: &[Entry] = &[\n{entries}];").expect("a String grows");
    let waiting = manifest(&wait).into_iter().find(|chunk| chunk.is_entry).map(|chunk| (chunk.file, chunk.css));
    match waiting {
        Some((script, styles)) => {
            let style = styles.first().expect("the waiting page has a style");
            writeln!(
                code,
                "pub(crate) const WAIT: Option<(&str, &str)> = Some((include_str!({:?}), include_str!({:?})));",
                wait.join(script),
                wait.join(style)
            )
        }
        None => writeln!(code, "pub(crate) const WAIT: Option<(&str, &str)> = None;"),
    }
    .expect("a String grows");
    code
}

/// A constant with the waiting page's texts in each language: one file, one language.
fn languages(folder: &Path) -> String {
    let mut code = String::from("pub(crate) static WAIT_STRINGS: &[(&str, &str)] = &[\n");
    for path in listed(folder, &["json"]) {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("languages have plain names");
        writeln!(code, "    ({name:?}, include_str!({path:?})),").expect("a String grows");
    }
    code + "];\n"
}

fn manifest(folder: &Path) -> Vec<Chunk> {
    let Ok(text) = fs::read(folder.join("manifest.json")) else { return Vec::new() };
    let chunks: BTreeMap<String, Chunk> = serde_json::from_slice(&text).expect("Vite writes a manifest");
    chunks.into_values().collect()
}

/// Files with one of these endings, in one order everywhere.
fn listed(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = found
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)))
        .collect();
    paths.sort();
    paths
}
