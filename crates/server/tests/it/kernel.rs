//! The failure that ended the old system of source document 002: connections that the kernel dropped while the program was busy, which nothing
//! of the program's own told of. Here it is done to a real server, and `/metrics` tells of it.

use crate::harness::{Server, stand_still, until};
use crate::scrape::{SOON, page};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn sample(page: &str, name: &str) -> u64 {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in\n{page}"))
}

/// The accept queue of a port, as the kernel's table has it.
fn queue_of(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let own = format!(":{port:04X}");
    let line = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = line.filter(|columns| columns[1].ends_with(&own) && columns[3] == "0A");
    listening.map(|columns| u64::from_str_radix(columns[4].split_once(':').unwrap().1, 16).unwrap()).sum()
}

/// Stops a process; goes on however the test ends.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        stand_still(pid);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_overflows_while_the_server_stands_still_is_told() {
    // As few as show it: every one of the queue is a connection, and how many a machine allows is its own affair.
    let server = Server::start_with(&[("BUNHO_SERVER__BACKLOG", "64")], &[]).await;
    let address: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let before = page(&server).await;
    let most = sample(&before, &format!("bunho_listen_backlog{{listen=\"{address}\"}}"));
    let overflows = sample(&before, "bunho_kernel_listen_overflows_total");
    assert_eq!(sample(&before, &format!("bunho_listen_accept_queue{{listen=\"{address}\"}}")), 0);

    let stopped = Stopped::new(server.pid());
    // The kernel lets in one more than it is told to.
    let crowd: Vec<TcpStream> = (0..=most).map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap()).collect();
    until("all of them are in the queue", SOON, async || queue_of(address.port()) == most + 1).await;
    let late = TcpStream::connect_timeout(&address, Duration::from_millis(1_500));
    assert!(late.is_err(), "nobody accepts, and there is no room");
    drop(stopped);

    let after = page(&server).await;
    assert!(sample(&after, "bunho_kernel_listen_overflows_total") > overflows, "{after}");
    assert!(sample(&after, "bunho_kernel_listen_drops_total") >= sample(&after, "bunho_kernel_listen_overflows_total"));
    let queue = format!("bunho_listen_accept_queue{{listen=\"{address}\"}}");
    until("whoever waited is let in", SOON, async || sample(&page(&server).await, &queue) == 0).await;
    drop(crowd);
}
