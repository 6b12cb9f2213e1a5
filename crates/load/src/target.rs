//! What load is sent to: its address, whether that is allowed, and whether a Bunho answers there.

use crate::client::Client;
use crate::exit::Failure;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Files this program has open besides its connections: standard streams, the poller, timers, its own calls, reports.
const OTHER_FILES: u64 = 64;

/// A server that may be put under load.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where connections go.
    pub address: SocketAddr,
    /// What `Host` says.
    pub host: String,
}

impl Target {
    /// Reads a URL and finds its address.
    ///
    /// # Errors
    /// It is no such URL, its name is unknown, or load may not be sent there.
    pub fn parse(url: &str, owned: bool) -> Result<Self, Failure> {
        let Some(rest) = url.strip_prefix("http://") else {
            let why = if url.starts_with("https://") {
                "TLS is not spoken here: give the address behind the proxy"
            } else {
                "write http://HOST:PORT"
            };
            return Err(Failure::usage(format_args!("the target `{url}` is not an http:// address; {why}")));
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return Err(Failure::usage(format_args!("the target `{url}` must be http://HOST:PORT and nothing more")));
        }
        let named_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let addressed = if named_port { host.to_string() } else { format!("{host}:80") };
        let addresses: Vec<SocketAddr> = addressed
            .to_socket_addrs()
            .map_err(|error| {
                Failure::unreachable(format_args!("the target's name in `{url}` cannot be resolved: {error}; check its spelling"))
            })?
            .collect();
        if let Some(foreign) = addresses.iter().find(|address| !owned && !address.ip().is_loopback()) {
            return Err(Failure::usage(format_args!(
                "{url} leads to {}, which is another machine: load is only sent to this one, unless you own the target and say so with --i-own-this-target",
                foreign.ip()
            )));
        }
        let address = addresses.first().copied().ok_or_else(|| Failure::unreachable(format_args!("{url} has no address")))?;
        Ok(Self { address, host: host.into() })
    }

    /// A client for single calls.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.address, &self.host)
    }

    /// A Bunho answers there, and serves.
    ///
    /// # Errors
    /// Nothing answers, or something else does.
    pub fn check(&self) -> Result<(), Failure> {
        let Self { address, host } = self;
        let reply = self.client().get("/healthz", &[]).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Failure::unreachable(format_args!("something answers at http://{host}, but it is no Bunho: {error}; check the address"))
            }
            _ => Failure::unreachable(format_args!(
                "nothing answers at http://{host} ({address}: {error}); start it with `make run` or `bunho serve`, or name another with --target"
            )),
        })?;
        if reply.status != 200 {
            return Err(Failure::unreachable(format_args!(
                "something answers at http://{host}, but it is no Bunho: GET /healthz gave {}; check the address",
                reply.status
            )));
        }
        let ready = self.client().get("/readyz", &[]);
        match ready {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(Failure::unreachable(format_args!(
                "http://{host} is not ready to serve (GET /readyz gave {}: {}); wait until it is, or look at its log",
                reply.status,
                String::from_utf8_lossy(&reply.body).chars().take(200).collect::<String>()
            ))),
            Err(error) => Err(Failure::unreachable(format_args!("http://{host} broke off: {error}"))),
        }
    }
}

/// Makes room for so many connections.
///
/// # Errors
/// The system allows fewer.
pub fn allow_connections(connections: usize) -> Result<(), Failure> {
    let wanted = connections as u64 + OTHER_FILES;
    let allowed = rlimit::increase_nofile_limit(wanted).unwrap_or(0);
    if allowed >= wanted {
        return Ok(());
    }
    Err(Failure::usage(format_args!(
        "{connections} connections need {wanted} open files, and this system allows {allowed}; use --connections {} or raise `ulimit -Hn`",
        allowed.saturating_sub(OTHER_FILES).max(1)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{UNREACHABLE, USAGE};

    #[test]
    fn addresses() {
        for (url, host) in
            [("http://127.0.0.1:8080", "127.0.0.1:8080"), ("http://[::1]:1/", "[::1]:1"), ("http://localhost:9", "localhost:9")]
        {
            assert_eq!(Target::parse(url, false).expect(url).host, host);
        }
        assert_eq!(Target::parse("http://127.0.0.1", false).expect("port 80").address.port(), 80);
        for (url, code, word) in [
            ("https://127.0.0.1", USAGE, "TLS"),
            ("127.0.0.1:8080", USAGE, "http://HOST:PORT"),
            ("http://127.0.0.1:8080/traffic", USAGE, "nothing more"),
            ("http://user@127.0.0.1", USAGE, "nothing more"),
            ("http://", USAGE, "nothing more"),
            ("http://192.0.2.1:8080", USAGE, "--i-own-this-target"),
            ("http://name.invalid:80", UNREACHABLE, "spelling"),
        ] {
            let failure = Target::parse(url, false).expect_err(url);
            assert!(failure.code == code && failure.message.contains(word), "{url}: {failure}");
        }
        assert!(Target::parse("http://192.0.2.1:8080", true).is_ok());
    }

    #[test]
    fn more_connections_than_files() {
        assert_eq!(allow_connections(10), Ok(()));
        let failure = allow_connections(usize::MAX / 4).expect_err("no system has so many");
        assert!(failure.code == USAGE && failure.message.contains("--connections"), "{failure}");
    }
}
