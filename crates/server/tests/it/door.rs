//! Who gets a place: against the real binary, behind a proxy that says whom it speaks for.

use crate::harness::{Server, read};
use crate::hostile::client::{Client, post};
use crate::hostile::resident;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::Ipv6Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Addresses that attack.
const ATTACKERS: u64 = 100_000;
/// Joins in one breath.
const BREATH: u64 = 200;
/// So often somebody else has their turn meanwhile.
const TURN_EVERY: u64 = 20;
/// Well within the minute for which one that had its turn is remembered.
const REMEMBERED: Duration = Duration::from_secs(45);
/// What they may cost in memory: two tables of 4 MiB, and what the requests themselves leave in the allocator.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

const BEHIND_A_PROXY: (&str, &str) = ("BUNHO_AUTH__TRUSTED_PROXIES", "[\"127.0.0.1\"]");

async fn join_from(server: &Server, address: &str, body: Value) -> (StatusCode, Value) {
    read(server.request(Method::POST, "/traffic/wait").header("x-forwarded-for", address).json(&body).send().await.unwrap()).await
}

fn solve(challenge: &str, bits: u32) -> String {
    let zeros = |text: &String| {
        let digest = Sha256::digest(format!("{challenge}{text}"));
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).leading_zeros()
    };
    (0_u32..).map(|n| n.to_string()).find(|text| zeros(text) >= bits).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_very_many_addresses_has_a_fixed_size_and_hurts_nobody_else() {
    let limits = [
        BEHIND_A_PROXY,
        ("BUNHO_JOIN__PER_ADDRESS_PER_MINUTE", "1"),
        ("BUNHO_JOIN__PER_ADDRESS_BURST", "1"),
        ("BUNHO_JOIN__PER_PREFIX_PER_MINUTE", "60"),
        ("BUNHO_JOIN__PER_PREFIX_BURST", "1000"),
    ];
    let server = Server::start_with(&limits, &[]).await;
    server.put_zone("GATE", json!({"entry_limit_per_minute": 0, "abandon_after_seconds": 3_600})).await;
    // Joins are counted before their work is looked at, so these are counted and leave no places: what grows is what remembers addresses.
    server.put_zone("WORK", json!({"entry_limit_per_minute": 0, "challenge_bits": 24})).await;
    let mut turns = vec![("198.51.100.7".to_owned(), Instant::now())];
    let (status, first) = join_from(&server, &turns[0].0, json!({"zoneId": "GATE"})).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let body = json!({"zoneId": "WORK", "key": "k", "challenge": "0".repeat(64), "solution": "0"}).to_string();
    let mut client = Client::connect(server.url.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
    let before = resident(server.pid());
    let (mut counted, mut refused) = (0_u64, 0_u64);
    for breath in 0..ATTACKERS / BREATH {
        let mut many = Vec::new();
        for n in breath * BREATH..(breath + 1) * BREATH {
            // Each in a network of its own, as a botnet is.
            let address = Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0000_0001_u128 | u128::from(n) << 72);
            many.extend(post("/traffic/wait", &format!("x-forwarded-for: 6.6.6.6, {address}\r\n"), &body));
        }
        client.send(&many).await.unwrap();
        for _ in 0..BREATH {
            match client.reply().await.unwrap().status {
                403 => counted += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
        if breath.is_multiple_of(TURN_EVERY) {
            let turn = (format!("198.51.100.{}", 10 + breath / TURN_EVERY), Instant::now());
            // The table may have no room for a newcomer just now.
            if join_from(&server, &turn.0, json!({"zoneId": "GATE"})).await.0 == StatusCode::OK {
                turns.push(turn);
            }
        }
    }
    let grown = resident(server.pid()).saturating_sub(before);
    println!("{ATTACKERS} addresses: {counted} counted, {refused} refused; resident grew by {} KiB", grown >> 10);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
    // What the table's own arithmetic allows, with both tables filling up meanwhile.
    assert!(refused < ATTACKERS / 5, "{refused} newcomers were refused");
    // Who is in line polls on.
    let (status, polled) = server.poll("GATE", first["token"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{polled}");
    // One that had its turn before does not come again under another name: the one whose turn is longest ago, but not a minute.
    let (earliest, _) = turns.iter().find(|(_, had)| had.elapsed() < REMEMBERED).expect("somebody had their turn of late");
    let (status, again) = join_from(&server, &format!("6.6.6.6, {earliest}"), json!({"zoneId": "GATE"})).await;
    assert_eq!((status, &again["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_fast")), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_and_what_was_shown_at_it_outlive_a_crash() {
    let mut server = Server::start().await;
    server.put_zone("GATE", json!({"entry_limit_per_minute": 0, "challenge_bits": 8, "pass_bound": true})).await;
    let body = |challenge: &str, solution: &str| json!({"zoneId": "GATE", "key": "kim", "challenge": challenge, "solution": solution});
    let (status, asked) = join_from(&server, "x", json!({"zoneId": "GATE", "key": "kim"})).await;
    assert_eq!((status, &asked["code"]), (StatusCode::FORBIDDEN, &json!("challenge_required")), "{asked}");
    let challenge = asked["challenge"].as_str().unwrap().to_owned();
    let solution = solve(&challenge, 8);
    let (status, joined) = join_from(&server, "x", body(&challenge, &solution)).await;
    assert_eq!(status, StatusCode::OK, "{joined}");
    let token = joined["token"].as_str().unwrap().to_owned();
    server.kill();
    server.restart().await;
    let (_, zone) = server.admin(Method::GET, "zones/GATE", Value::Null).await;
    assert_eq!((&zone["challenge_bits"], &zone["pass_bound"]), (&json!(8), &json!(true)), "{zone}");
    // Work that was done for a place counts after it too, and finds that place once the line has it again.
    let (status, polled) = server.poll("GATE", &token).await;
    assert_eq!(status, StatusCode::OK, "{polled}");
    let (status, again) = join_from(&server, "x", body(&challenge, &solution)).await;
    assert_eq!((status, &again["token"]), (StatusCode::OK, &json!(token)), "{again}");
    // Once more from the ledger alone.
    server.until_projected().await;
    assert_eq!(server.sql("select challenge_bits, enqueue, pass_bound from zones where id = 'GATE'"), "8|open|1");
    assert_eq!(server.stop(), 0);
    server.restart().await;
    let (_, zone) = server.admin(Method::GET, "zones/GATE", Value::Null).await;
    assert_eq!(zone["challenge_bits"], 8, "{zone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_and_passes_that_ended_are_worth_nothing_when_they_are_shown_again() {
    let mut server = Server::start().await;
    server.put_zone("GATE", json!({"entry_limit_per_minute": 1})).await;
    let (_, first) = server.join("GATE").await;
    let pass = first["pass"].as_str().expect("the first one enters").to_owned();
    let (_, second) = server.join("GATE").await;
    let token = second["token"].as_str().unwrap().to_owned();
    let leave = json!({"zoneId": "GATE", "token": token});
    let left = server.request(Method::POST, "/traffic/leave").json(&leave).send().await.unwrap();
    assert_eq!(left.status(), StatusCode::NO_CONTENT);
    let gone = async |server: &Server, token: &str| {
        let (status, answer) = server.poll("GATE", token).await;
        assert_eq!((status, &answer["code"]), (StatusCode::GONE, &json!("ticket_gone")), "{answer}");
    };
    gone(&server, &token).await;
    server.kill();
    server.restart().await;
    gone(&server, &token).await;
    let verify =
        async |server: &Server| server.request(Method::GET, "/verify?zone=GATE").header("bunho-pass", &pass).send().await.unwrap().status();
    assert_eq!(verify(&server).await, StatusCode::NO_CONTENT);
    let (status, _) = server.admin(Method::POST, "zones/GATE/reset", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(verify(&server).await, StatusCode::UNAUTHORIZED, "a pass from before a reset");
    gone(&server, first["token"].as_str().unwrap()).await;
}

/// Whatever strangers write, one event of the log is one line, and no terminal is told anything by it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_lines_of_their_own_into_the_log() {
    const EVIL: &str = "x\r\n2026-01-01T00:00:00Z  INFO forged: the offer is open\u{1b}[31m\u{7}\u{202e}";
    for format in ["text", "json"] {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        command.env("BUNHO_LOG__LEVEL", "debug").env("BUNHO_LOG__FORMAT", format).env("BUNHO_ADMIN_KEY", crate::harness::ADMIN_KEY);
        let log = data.path().join("log");
        command.stdin(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        let mut started = crate::harness::launch(command);
        let client = reqwest::Client::new();
        let url = &started.url;
        // Everywhere that takes a text: a path, a query, a name, a key, a password, a body that is none, a setting.
        let encoded: String = EVIL.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("/wait/{encoded}"),
            format!("/{encoded}"),
            format!("/zones/{encoded}/status"),
            format!("/verify?zone={encoded}&pass={encoded}"),
        ] {
            client.get(format!("{url}{path}")).send().await.unwrap();
        }
        for (path, body) in [
            ("/traffic/wait", json!({"zoneId": EVIL, "key": EVIL})),
            ("/traffic/entry", json!({"zoneId": "Z", "token": EVIL})),
            ("/admin/api/session", json!({"name": EVIL, "password": EVIL})),
            ("/admin/api/session", json!({"key": EVIL})),
            ("/v1/offers/none/claims", json!({"quantity": EVIL})),
        ] {
            client.post(format!("{url}{path}")).json(&body).send().await.unwrap();
        }
        let zone = client.put(format!("{url}/admin/api/zones/Z")).bearer_auth(crate::harness::ADMIN_KEY);
        let refused = zone.json(&json!({"entry_limit_per_minute": 1, "name": EVIL, "message": EVIL})).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "no setting has control characters");
        let evil_id = client.get(format!("{url}/healthz")).header("x-request-id", "a\tb").send().await.unwrap();
        assert_ne!(evil_id.headers()["x-request-id"], "a\tb");
        // Raw bytes that no client would send: a header with a line of its own is two headers at most, and never a second answer.
        let mut raw = Client::connect(url.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
        let answer = raw.call(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: a\x1b[31m\r\n\r\n").await;
        assert!(answer.is_ok_and(|reply| !reply.head.contains('\x1b')));
        started.process.kill().unwrap();
        started.process.wait().unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{text:?}");
        if format == "json" {
            assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
        }
    }
}

/// Fifty people show one pass at once; the process is killed; and what the pass took was given back before.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_was_used_stays_so() {
    let mut server = Server::start().await;
    server.put_zone("GATE", json!({"entry_limit_per_minute": null})).await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 99, "zone": "GATE", "pass_once": true})).await;
    let (_, joined) = server.join("GATE").await;
    let pass = joined["pass"].as_str().unwrap();
    let show = |server: &Server, user: u32| {
        let request = server.request(Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", format!("u{user}"));
        let request = request.header("bunho-pass", pass).json(&json!({"quantity": 1}));
        async { read(request.send().await.unwrap()).await }
    };
    let answers = futures_util::future::join_all((0..50).map(|user| show(&server, user))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == StatusCode::CREATED);
    assert_eq!((taken.len(), refused.len()), (1, 49));
    assert!(refused.iter().all(|(status, body)| (*status, &body["code"]) == (StatusCode::FORBIDDEN, &json!("pass_used"))), "{refused:?}");
    let claim = &taken[0].1;
    let (status, _) = server
        .user_post(claim["user"].as_str().unwrap(), &format!("/v1/claims/{}/release", claim["id"].as_str().unwrap()), json!({}))
        .await;
    assert_eq!(status, StatusCode::OK);
    server.kill();
    server.restart().await;
    let (_, again) = show(&server, 100).await;
    assert_eq!(again["code"], "pass_used", "{again}");
    assert_eq!(server.offer("drop").await["remaining"], 99);
    // And where the state comes from the tables alone.
    server.until_projected().await;
    assert_eq!(server.stop(), 0);
    std::fs::remove_dir_all(server.data().join("journal/store")).unwrap();
    assert!(server.run("rebuild").status.success());
    server.restart().await;
    let (_, again) = show(&server, 100).await;
    assert_eq!(again["code"], "pass_used", "{again}");
    server.assert_reconciled();
}
