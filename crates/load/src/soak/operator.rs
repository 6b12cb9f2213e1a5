//! The operator, who edits, restocks, pauses, makes and revokes keys, and looks at everything; and those who watch stock as it changes.

use super::season::{STEADY, Season, Shelf, line};
use super::world::{Call, Caller, Over};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A stream is watched so long before it is opened anew.
const WATCH: Duration = Duration::from_secs(10);
/// Events come at least this often, as comments where nothing changes; a stream is looked after in between.
const LISTEN: Duration = Duration::from_millis(250);

/// One deed after another until it is told to finish.
pub(super) fn operate(mut caller: Caller, every: Duration) {
    while !caller.world.finishing() {
        if deed(&mut caller).is_err() {
            return;
        }
        std::thread::sleep(every);
    }
}

fn deed(caller: &mut Caller) -> Result<(), Over> {
    let season = caller.world.season();
    match caller.random.below(12) {
        0 | 1 => {
            let most = season.steady_limit_max;
            let limit = most / 2 + caller.random.below(u64::from(most / 2) + 1) as u32;
            do_it(caller, "PUT", &format!("zones/{STEADY}"), Some(line(limit)), &[200, 201]).map(drop)
        }
        2 | 3 => {
            let shelf = [Shelf::Goods, Shelf::Flash, Shelf::Stay, Shelf::Coupon][caller.random.below(4) as usize];
            let delta = caller.random.below(12) as i64 - 3;
            let path = format!("offers/{}/restock", season.offer(shelf));
            // Below what is taken it may not go, and a season may just have ended.
            do_it(caller, "POST", &path, Some(json!({"delta": if delta == 0 { 1 } else { delta }})), &[200, 409, 404]).map(drop)
        }
        4 => {
            do_it(caller, "POST", &format!("zones/{STEADY}/pause"), Some(json!({})), &[200, 204])?;
            std::thread::sleep(Duration::from_millis(400));
            do_it(caller, "POST", &format!("zones/{STEADY}/resume"), Some(json!({})), &[200, 204]).map(drop)
        }
        5 => {
            let made = do_it(caller, "POST", "keys", Some(json!({"role": "service", "name": "soak"})), &[201])?;
            let id = made["id"].as_str().unwrap_or_default().to_string();
            do_it(caller, "DELETE", &format!("keys/{id}"), None, &[200, 204, 404]).map(drop)
        }
        6 => edit_offer(caller, &season),
        _ => look(caller, &season),
    }
}

/// Gives an offer another name, if nobody else has edited it since it was read.
fn edit_offer(caller: &mut Caller, season: &Season) -> Result<(), Over> {
    let path = format!("offers/{}", season.offer(Shelf::Goods));
    let mut body = do_it(caller, "GET", &path, None, &[200, 404])?;
    let Some(fields) = body.as_object_mut().filter(|fields| fields.contains_key("kind")) else { return Ok(()) };
    for shown in ["id", "revision", "state", "stock"] {
        fields.remove(shown);
    }
    fields.insert("name".into(), json!(format!("name {}", caller.random.below(1_000))));
    // The quantity that was read may since have been restocked below what is taken; the offer may have been closed.
    do_it(caller, "PUT", &path, Some(body), &[200, 201, 409]).map(drop)
}

fn look(caller: &mut Caller, season: &Season) -> Result<(), Over> {
    let paths = [
        "overview".to_string(),
        "audit".into(),
        "system".into(),
        "sessions".into(),
        "keys".into(),
        format!("zones/{STEADY}/live"),
        format!("zones/{STEADY}/minutes"),
        format!("offers/{}/sales", season.offer(Shelf::Goods)),
        format!("offers/{}/standby", season.offer(Shelf::Flash)),
        format!("offers/{}/claims", season.offer(Shelf::Stay)),
        format!("claims?offer={}", season.offer(Shelf::Goods)),
    ];
    let path = &paths[caller.random.below(paths.len() as u64) as usize];
    do_it(caller, "GET", path, None, &[200, 404]).map(drop)
}

fn do_it(caller: &mut Caller, method: &'static str, path: &str, body: Option<Value>, wanted: &[u16]) -> Result<Value, Over> {
    let reply = caller.insist(&Call::new(method, format!("/admin/api/{path}"), body).operator())?;
    let mut book = caller.world.book();
    book.count("operator's calls");
    if !wanted.contains(&reply.status) {
        book.find(format!("{method} {path}: {}", reply.refusal()));
    }
    Ok(reply.json())
}

/// Takes back what was confirmed in a season that has ended, since only an offer of which nobody has anything can be deleted; until it is told to finish.
pub(super) fn clear(mut caller: Caller, every: Duration) {
    while !caller.world.finishing() {
        let Some(id) = caller.world.next_to_clear() else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let cleared = take_back(&mut caller, &id, false);
        caller.world.cleared();
        if cleared.is_err() {
            return;
        }
        std::thread::sleep(every);
    }
}

/// An operator takes a confirmed claim back.
pub(super) fn take_back(caller: &mut Caller, id: &str, restock: bool) -> Result<(), Over> {
    let path = format!("/admin/api/claims/{id}/return");
    let reply = caller.insist(&Call::new("POST", path.as_str(), Some(json!({"restock": restock}))).operator())?;
    let mut book = caller.world.book();
    match reply.status {
        200 => {
            book.told(None, false, &reply.json());
            book.count("taken back");
        }
        404 => book.count("too late for the offer"),
        _ => book.find(format!("taking back {id}: {}", reply.refusal())),
    }
    Ok(())
}

/// Watches one offer's stock after another until it is told to finish.
pub(super) fn watch(mut caller: Caller) {
    while !caller.world.finishing() {
        let season = caller.world.season();
        let shelves: Vec<Shelf> = Season::shelves().collect();
        let offer = season.offer(shelves[caller.random.below(shelves.len() as u64) as usize]);
        if stream(&caller, &offer).is_none() {
            // The server is away.
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Reads one stream for a while. None: it could not be opened, or broke.
fn stream(caller: &Caller, offer: &str) -> Option<()> {
    let target = caller.target();
    let mut stream = TcpStream::connect_timeout(&target.address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(LISTEN)).ok()?;
    let request = format!("GET /v1/offers/{offer}/stock HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\r\n", target.host);
    stream.write_all(request.as_bytes()).ok()?;
    caller.world.book().count("streams opened");
    let (began, mut text, mut buffer, mut version) = (Instant::now(), Vec::new(), [0; 16 * 1_024], 0);
    while began.elapsed() < WATCH && !caller.world.finishing() {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => text.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return None,
        }
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:") {
                version = event(caller, offer, data, version);
            }
        }
    }
    Some(())
}

/// What a stream shows never goes back; the version that it showed last.
fn event(caller: &Caller, offer: &str, data: &[u8], version: u64) -> u64 {
    let stock: Value = serde_json::from_slice(data).unwrap_or_default();
    let mut book = caller.world.book();
    book.count("stock events");
    match stock["version"].as_u64() {
        Some(now) if now >= version => now,
        _ => {
            book.find(format!("{offer}'s stream showed version {version} and then {}", String::from_utf8_lossy(data)));
            version
        }
    }
}
