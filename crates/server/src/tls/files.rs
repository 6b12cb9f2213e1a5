//! How files are told apart from what they were: without reading them, and also where a name comes to mean another file.

use crate::config::{ClientAuth, TlsConfig};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of each file what changes with it; none: it cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<[i64; 5]>>);

impl Stamp {
    pub(super) fn of(config: &TlsConfig) -> Self {
        let authorities = match &config.client_auth {
            ClientAuth::Off => None,
            ClientAuth::Optional(file) | ClientAuth::Required(file) => Some(file),
        };
        Self::of_files([&config.cert_file, &config.key_file].into_iter().chain(authorities))
    }

    pub(crate) fn of_files(files: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let one = |file: &Path| {
            let found = std::fs::metadata(file).ok()?;
            Some([found.dev() as i64, found.ino() as i64, found.size() as i64, found.mtime(), found.mtime_nsec()])
        };
        Self(files.into_iter().map(|file| one(file.as_ref())).collect())
    }
}
