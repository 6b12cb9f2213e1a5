//! Which node this is: a random name, kept in the data folder, under which Kafka keeps its partitions for it while it is started again.
//!
//! The file is locked for as long as the process lives, so that two nodes of one machine that were given one folder find out at once. A folder
//! that was copied is found out by Kafka: see `KafkaError::Fenced`.

use crate::exit::Failure;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

/// Bytes of a name, each two characters: nobody draws one of 128 bits twice.
const ID_BYTES: usize = 16;

/// A name that nobody else draws.
///
/// # Errors
/// The system gives no randomness.
pub fn random_name() -> Result<String, Failure> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Failure::internal(format_args!("the system gives no randomness: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// This node's name, and its data folder for as long as this lives.
#[derive(Debug)]
pub struct NodeId {
    id: String,
    /// Locked until it is closed.
    _file: File,
}

impl NodeId {
    /// Reads the name in the data folder, or draws one there.
    ///
    /// # Errors
    /// Another process has the folder, or the file cannot be used.
    pub fn of(data: &Path) -> Result<Self, Failure> {
        let path = data.join("node.id");
        let unusable = |error: std::io::Error| {
            Failure::data(format_args!("{} cannot be used: {error}\n  mend: choose another folder with --data", path.display()))
        };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::data(format_args!(
                    "the data folder {} is used by another node that runs\n  mend: give each node one of its own with --data",
                    data.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unusable)?;
        let mut id = text.trim().to_owned();
        if id.is_empty() {
            id = random_name()?;
            file.write_all(id.as_bytes()).and_then(|()| file.sync_all()).map_err(unusable)?;
        }
        if id.len() != 2 * ID_BYTES || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Failure::data(format_args!(
                "{} is damaged\n  mend: remove it; the node gets another name, and loses nothing by it",
                path.display()
            )));
        }
        Ok(Self { id, _file: file })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name_and_one_process() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = NodeId::of(dir.path()).expect("a name");
        let refused = NodeId::of(dir.path()).expect_err("it is in use").to_string();
        assert!(refused.contains("--data"), "{refused}");
        let name = first.to_string();
        drop(first);
        assert_eq!(NodeId::of(dir.path()).expect("the same").to_string(), name);
        std::fs::write(dir.path().join("node.id"), "half").expect("written");
        assert!(NodeId::of(dir.path()).expect_err("no name").to_string().contains("remove it"));
    }
}
