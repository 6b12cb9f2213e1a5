//! What the machine gives this process: asked by `bunho doctor` on the spot, and by `bunho rehearse` through a running server.
//!
//! Everything is read from where Linux tells it. What another system does not tell is absent, and nobody's fault.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Syncs timed; the slowest is told.
const SYNCS: u32 = 20;
/// Bytes written before each: what a claim's record has, roughly.
const SYNCED_BYTES: usize = 512;

/// How long the disk takes to make something durable.
pub(crate) struct SyncTimes {
    /// The mean of all tries.
    pub(crate) mean: Duration,
    /// The slowest.
    pub(crate) slowest: Duration,
    /// How many there were.
    pub(crate) tries: u32,
}

/// Times fdatasync in a folder.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn sync_times(folder: &Path) -> std::io::Result<SyncTimes> {
    // Two that measure at the same time measure two files.
    let path = folder.join(format!(".sync-probe-{}", uuid::Builder::from_random_bytes(random_bytes()?).as_uuid().simple()));
    let measured = time_syncs(&path);
    let removed = std::fs::remove_file(&path);
    let times = measured?;
    removed?;
    Ok(times)
}

fn random_bytes() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

fn time_syncs(path: &Path) -> std::io::Result<SyncTimes> {
    let mut file = std::fs::File::create(path)?;
    let mut slowest = Duration::ZERO;
    let started = Instant::now();
    for _ in 0..SYNCS {
        let before = Instant::now();
        file.write_all(&[0; SYNCED_BYTES])?;
        file.sync_data()?;
        slowest = slowest.max(before.elapsed());
    }
    Ok(SyncTimes { mean: started.elapsed() / SYNCS, slowest, tries: SYNCS })
}

/// Time that this process has spent on processors, in seconds.
pub(crate) fn processor_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Files that this process may have open now.
pub(crate) fn open_files_max() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

/// Processors that this process may use, as the scheduler and its control group allow.
pub(crate) fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Bytes of memory that can still be had: by the machine, or by the control group where that is less.
pub(crate) fn memory_available_bytes() -> Option<u64> {
    let machine = meminfo(&read("/proc/meminfo")?, "MemAvailable");
    let group = (|| {
        let most = number("/sys/fs/cgroup/memory.max")?;
        Some(most.saturating_sub(number("/sys/fs/cgroup/memory.current")?))
    })();
    machine.into_iter().chain(group).min()
}

/// Bytes free on the disk of a folder, for whoever runs this.
pub(crate) fn disk_free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A setting of the kernel that is a number: `net.core.somaxconn`.
pub(crate) fn sysctl(name: &str) -> Option<u64> {
    number(&format!("/proc/sys/{}", name.replace('.', "/")))
}

/// The ports that connections to others are made from, lowest and highest.
pub(crate) fn local_ports() -> Option<(u64, u64)> {
    let text = read("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut ports = text.split_whitespace().filter_map(|port| port.parse().ok());
    Some((ports.next()?, ports.next()?))
}

fn number(path: &str) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// A line of /proc/meminfo, whose figures are in units of 1,024 bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_its_name() {
        let text = "MemTotal:       24576000 kB\nMemFree:         1 kB\nMemAvailable:   12288000 kB\n";
        assert_eq!(meminfo(text, "MemAvailable"), Some(12_288_000 * 1_024));
        assert_eq!(meminfo(text, "Mem"), None);
        assert_eq!(meminfo("MemAvailable: much\n", "MemAvailable"), None);
    }

    #[test]
    fn the_probe_of_the_disk_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let times = sync_times(folder.path()).expect("times");
        assert!(times.slowest >= times.mean && times.tries == SYNCS);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert!(sync_times(&folder.path().join("none")).is_err());
    }
}
