//! What the kernel does with connections before this process sees them: the failure that no counter of ours could tell of, since whoever meets it
//! never gets here. `docs/kernel.md` says what each figure means.
//!
//! Counters of the network namespace are in `/proc/net/netstat`. How many connections wait to be accepted is in `/proc/net/tcp` (and `tcp6`), where a
//! listening socket's receive queue is that number; a socket is found by its inode, which is right in every namespace, and sockets that listen
//! come before all others, so the file is read no further however many connections there are. The bound of the queue is not there: it is the smaller
//! one of what `listen` was asked for and `net.core.somaxconn` at that time. (A netlink socket would tell both, and would need `unsafe` or a crate
//! for these two numbers.) All of it exists on Linux alone; elsewhere the samples are not there.

use super::names::{self, Name};
use super::sheet::Sheet;
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};
use tokio::net::TcpListener;

const NETSTAT: &str = "/proc/net/netstat";
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// In the tables of sockets: listening.
const LISTEN: &str = "0A";

const COUNTERS: [(&Name, &str); 4] = [
    (&names::KERNEL_OVERFLOWS, "ListenOverflows"),
    (&names::KERNEL_DROPS, "ListenDrops"),
    (&names::KERNEL_SYN_DROPS, "TCPReqQFullDrop"),
    (&names::KERNEL_SYN_COOKIES, "TCPReqQFullDoCookies"),
];

/// Listening sockets that are open.
static LISTENING: Mutex<Vec<Weak<Socket>>> = Mutex::new(Vec::new());

/// A listening socket among those that are shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    address: SocketAddr,
    inode: String,
    backlog: u32,
}

/// Shows the accept queue of a socket that asked for `backlog`, for as long as what this returns is held. None: this system does not tell.
pub(crate) fn watch(listener: &TcpListener, backlog: u16) -> Option<Arc<Socket>> {
    let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).ok()?;
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
    let most: u32 = fs::read_to_string(SOMAXCONN).ok()?.trim().parse().ok()?;
    let socket = Arc::new(Socket { address: listener.local_addr().ok()?, inode, backlog: most.min(backlog.into()) });
    let mut listening = LISTENING.lock();
    listening.retain(|socket| socket.strong_count() > 0);
    listening.push(Arc::downgrade(&socket));
    Some(socket)
}

pub(super) fn write(sheet: &mut Sheet) {
    let netstat = fs::read_to_string(NETSTAT).unwrap_or_default();
    for (name, counter) in COUNTERS {
        sheet.all(name, counter_of(&netstat, counter).map(|value| ([""; 0], value)));
    }
    let open: Vec<Arc<Socket>> = LISTENING.lock().iter().filter_map(Weak::upgrade).collect();
    let queues: Vec<(&Arc<Socket>, u32)> = open.iter().filter_map(|socket| Some((socket, socket.queue()?))).collect();
    sheet.all(&names::ACCEPT_QUEUE, queues.iter().map(|(socket, waiting)| ([socket.address], waiting)));
    sheet.all(&names::BACKLOG, queues.iter().map(|(socket, _)| ([socket.address], socket.backlog)));
}

impl Socket {
    /// Connections that wait to be accepted.
    fn queue(&self) -> Option<u32> {
        let table = File::open(if self.address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" }).ok()?;
        queue_in(BufReader::new(table), &self.inode)
    }
}

/// The receive queue of the listening socket with this inode: `tx:rx` in the fifth column, the inode in the tenth.
fn queue_in(table: impl BufRead, inode: &str) -> Option<u32> {
    for line in table.lines().skip(1) {
        let line = line.ok()?;
        let mut columns = line.split_ascii_whitespace();
        if columns.nth(3)? != LISTEN {
            return None;
        }
        let queues = columns.next()?;
        if columns.nth(4)? == inode {
            return u32::from_str_radix(queues.split_once(':')?.1, 16).ok();
        }
    }
    None
}

/// A counter of `TcpExt`: a line of names is followed by a line of values, each begun with the group's name.
fn counter_of(netstat: &str, counter: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_ascii_whitespace().position(|name| name == counter)?;
    values.split_ascii_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let netstat =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 2063660 2245967\nIpExt: InNoRoutes ListenDrops\nIpExt: 7 8\n";
        assert_eq!(counter_of(netstat, "ListenOverflows"), Some(2_063_660));
        assert_eq!(counter_of(netstat, "ListenDrops"), Some(2_245_967));
        assert_eq!(counter_of(netstat, "TCPReqQFullDrop"), None);
        assert_eq!(counter_of("", "ListenDrops"), None);
    }

    #[test]
    fn a_queue_is_found_by_its_inode_among_sockets_that_listen() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n   \
                     1: 0100007F:1F90 00000000:0000 0A 00000000:00000011 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0\n   \
                     2: 0100007F:1F90 0100007F:D431 01 00000000:00000005 00:00000000 00000000     0        0 13 1 0 20 4 30 10 -1\n";
        let found = |inode| queue_in(table.as_bytes(), inode);
        assert_eq!((found("11"), found("12"), found("13"), found("14")), (Some(0), Some(17), None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_kernel_has_all_of_them() {
        let netstat = fs::read_to_string(NETSTAT).expect("netstat");
        for (name, counter) in COUNTERS {
            assert!(counter_of(&netstat, counter).is_some(), "{}", name.name);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_queue_is_as_long_as_nobody_accepts() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = match crate::listen::bind(address.parse().expect("an address"), 8) {
                // Some machines have no IPv6.
                Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => continue,
                bound => bound.expect("a socket"),
            };
            let address = listener.local_addr().expect("its address");
            let watched = watch(&listener, 8).expect("it is told");
            let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).expect("a connection")).collect();
            // A client has its connection a moment before it is in the queue.
            let began = std::time::Instant::now();
            while watched.queue() != Some(3) {
                assert!(began.elapsed().as_secs() < 30, "{:?} of 3 wait", watched.queue());
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let accepted = listener.accept().await.expect("one of them");
            assert_eq!(watched.queue(), Some(2));
            drop((accepted, clients, listener));
            assert_eq!(watched.queue(), None);
        }
    }
}
