//! Names, times, networks, and the configuration.

use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::time::Millis;
use bunho_ledger::fuzzing::{read_time, write_time};
use bunho_server::config::{Config, Flags, Network, Refused, Settings, read};
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

/// What is taken as a name shows itself as the text it was read from; nothing is taken that the contract forbids.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let is_name = (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
    assert_eq!(ZoneId::parse(text).map(|id| id.to_string()).ok().as_deref(), is_name.then_some(text));
    assert_eq!(OfferId::parse(text).map(|id| id.to_string()).ok().as_deref(), is_name.then_some(text));
    assert_eq!(AppId::parse(text).map(|id| id.to_string()).ok().as_deref(), is_name.then_some(text));
    let is_user = (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
    assert_eq!(UserId::parse(text).map(|id| id.to_string()).ok().as_deref(), is_user.then_some(text));
    let is_key = (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    assert_eq!(IdempotencyKey::parse(text).map(|id| id.to_string()).ok().as_deref(), is_key.then_some(text));
    if let Ok(id) = ClaimId::parse(text) {
        assert_eq!(ClaimId::parse(&id.to_string()), Ok(id));
        assert_eq!(ClaimId::new(id.offer_number(), id.seq(), id.nonce()), id);
        assert_eq!(ClaimId::from_bytes(*id.as_bytes()), id);
        assert!(StandbyId::parse(text).is_ok(), "the two kinds of id are built alike");
    }
    time(text);
    network(text);
}

/// The ledger's times against another calendar.
fn time(text: &str) {
    if let Some(at) = read_time(text) {
        assert_eq!(write_time(at), text, "a time has one spelling");
        let other: jiff::Timestamp = text.parse().expect("a time of the ledger is an RFC 3339 time");
        assert_eq!(other.as_millisecond(), at.0);
    }
    if let Ok(number) = text.parse::<i64>() {
        let written = write_time(Millis(number));
        assert_eq!(read_time(&written).map(write_time), Some(written), "what is written is read");
    }
}

fn network(text: &str) {
    let (Some(network), Some(address)) = (Network::parse(text), text.split('/').next()) else { return };
    let address: IpAddr = address.parse().expect("a network begins with an address");
    // An IPv4 address in the form of IPv6 stands for the IPv4 address, which an IPv6 network does not hold.
    if address.to_canonical() == address {
        assert!(network.contains(address), "a network holds the address it is named by");
    }
}

/// Any file and environment are a configuration within its bounds, or a refusal that names the setting and says how to mend it.
/// The input is the file, an empty line, and the environment as `NAME=value` lines.
pub fn configuration(bytes: &[u8]) {
    let (file, environment) = crate::halves(bytes);
    let environment = String::from_utf8_lossy(environment).into_owned();
    let environment =
        || environment.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let path = scratch_file(file);
    let flags = Flags { config: Some(path), ..Flags::default() };
    match read(&flags, environment()) {
        Err(refused) => check_refusal(&refused),
        Ok(settings) => {
            let printed = toml::to_string(&settings).expect("settings can be printed");
            let again = Flags { config: Some(scratch_file(printed.as_bytes())), ..Flags::default() };
            assert_eq!(read(&again, std::iter::empty()).expect("what is printed can be read"), settings);
            check(settings);
        }
    }
}

/// A file for the parser, which takes a path. One for each thread, written over each time.
fn scratch_file(bytes: &[u8]) -> PathBuf {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    let path = FOLDER.with(|folder| folder.path().join("bunho.toml"));
    std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("the folder can be written");
    path
}

fn check_refusal(refused: &Refused) {
    assert!(!refused.setting.is_empty() && !refused.problem.is_empty() && !refused.mend.is_empty(), "{refused:?}");
}

fn check(settings: Settings) {
    let Config { listen, admin_listen, limits, pass_issuer, users, .. } = match settings.check() {
        Ok(config) => config,
        Err(refused) => return check_refusal(&refused),
    };
    assert!(admin_listen != Some(listen) || listen.port() == 0);
    assert!((1_024..=16 << 20).contains(&limits.body_bytes_max) && (8_192..=1 << 20).contains(&limits.header_bytes_max));
    assert!(limits.connections_max > 0 && limits.in_flight_max > 0 && limits.in_flight_per_zone_max > 0 && limits.streams_max > 0);
    for time in [limits.header_timeout, limits.body_timeout, limits.request_timeout] {
        assert!((10..=600_000).contains(&time.as_millis()));
    }
    assert!(!pass_issuer.is_empty());
    if let bunho_server::config::Users::Header { trusted } = users {
        assert!(listen.ip().is_loopback() || !trusted.is_empty(), "nobody is believed from everywhere");
    }
}
