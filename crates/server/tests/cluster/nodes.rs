//! Nodes of one installation, which requests reach by turns: what one is told, all know within two seconds.

use crate::components::{self, environment};
use crate::harness::{ADMIN_KEY, Server, launch, read, until};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What one node knows, all know by then, on a machine that does not stand still.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(60);

/// Waits until all know it; how long that took.
async fn known(what: &str, condition: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    until(what, SOON, condition).await;
    println!("{what}: {:.1?}", began.elapsed());
    began.elapsed()
}

/// What a node answers to this key.
async fn asks(server: &Server, node: usize, key: &str) -> StatusCode {
    server.client.get(format!("{}/admin/api/zones", server.urls()[node])).bearer_auth(key).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_made_or_revoked_on_one_node_is_so_on_the_others() {
    let environment = environment("postgres");
    let pairs: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = Server::start_nodes(2, &pairs, &[]).await;
    let mut took = Vec::new();
    for (made_on, other) in [(0, 1), (1, 0)] {
        let url = format!("{}/admin/api/keys", server.urls()[made_on]);
        let body = json!({"role": "operator", "name": "shop"});
        let (status, made) = read(server.client.post(&url).bearer_auth(ADMIN_KEY).json(&body).send().await.unwrap()).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let key = made["key"].as_str().unwrap();
        took.push(known("the other node knows the key", async || asks(&server, other, key).await == StatusCode::OK).await);

        let url = format!("{}/admin/api/keys/{}", server.urls()[other], made["id"].as_str().unwrap());
        assert_eq!(server.client.delete(&url).bearer_auth(ADMIN_KEY).send().await.unwrap().status(), StatusCode::NO_CONTENT);
        assert_eq!(asks(&server, other, key).await, StatusCode::UNAUTHORIZED);
        let revoked = async || asks(&server, made_on, key).await == StatusCode::UNAUTHORIZED;
        took.push(known("the first node knows that it is revoked", revoked).await);
    }

    let folder = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
    command.args(["key", "new", "--role", "viewer", "--data"]).arg(folder.path()).envs(pairs);
    let output = command.output().unwrap();
    let made: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    for node in 0..2 {
        let key = made["key"].as_str().unwrap();
        took.push(known("a node knows a key of the shell", async || asks(&server, node, key).await == StatusCode::OK).await);
    }
    let late = took.iter().filter(|took| **took >= KNOWN_WITHIN).count();
    assert!(late * 2 < took.len(), "not within {KNOWN_WITHIN:?}: {took:.1?}");

    // A flood of guesses is no flood of statements.
    let reads =
        || server.sql("SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'admins'").parse::<u64>().unwrap();
    let (before, began) = (reads(), std::time::Instant::now());
    let guesses: Vec<_> = (0..2_000)
        .map(|guess| {
            let request =
                server.client.get(format!("{}/admin/api/zones", server.urls()[guess % 2])).bearer_auth(format!("bk_guess-{guess}"));
            tokio::spawn(async move { request.send().await.unwrap().status() })
        })
        .collect();
    for guess in guesses {
        assert_eq!(guess.await.unwrap(), StatusCode::UNAUTHORIZED);
    }
    let seconds = began.elapsed().as_secs();
    // What a session has counted is told a second after it, and by the next statement.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let read = reads() - before;
    assert!(read <= 4 * (seconds + 6), "{read} reads of the keys for 2,000 guesses in {seconds} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_is_one_on_every_node_and_ends_on_every_node() {
    let server = components::cluster("mariadb").await;
    let urls = server.urls();
    let session = async |node: usize, cookie: &str| {
        let request = server.client.get(format!("{}/admin/api/session", urls[node])).header("cookie", cookie);
        request.send().await.unwrap().status()
    };
    let sign_in = async |node: usize, key: &str| {
        let answer = server.client.post(format!("{}/admin/api/session", urls[node])).json(&json!({"key": key})).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let cookie = sign_in(0, ADMIN_KEY).await;
    let other = sign_in(0, ADMIN_KEY).await;
    // At once: the next request of a browser goes anywhere.
    assert_eq!((session(1, &cookie).await, session(0, &cookie).await), (StatusCode::OK, StatusCode::OK));
    let forged = cookie.replacen("bunho_session=", "bunho_session=A", 1);
    assert_eq!(session(1, &forged).await, StatusCode::UNAUTHORIZED);

    let out = server.client.delete(format!("{}/admin/api/session", urls[1])).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    assert_eq!(session(1, &cookie).await, StatusCode::UNAUTHORIZED);
    known("the sign-out is known", async || session(0, &cookie).await == StatusCode::UNAUTHORIZED).await;
    assert_eq!((session(0, &other).await, session(1, &other).await), (StatusCode::OK, StatusCode::OK), "another session goes on");

    // A key made here, signed in with here, used there.
    let url = format!("{}/admin/api/keys", urls[0]);
    let body = json!({"role": "viewer", "name": "eyes"});
    let (_, made) = read(server.client.post(&url).bearer_auth(ADMIN_KEY).json(&body).send().await.unwrap()).await;
    let cookie = sign_in(0, made["key"].as_str().unwrap()).await;
    known("the key's session is known", async || session(1, &cookie).await == StatusCode::OK).await;
    let url = format!("{}/admin/api/keys/{}", urls[1], made["id"].as_str().unwrap());
    assert_eq!(server.client.delete(&url).bearer_auth(ADMIN_KEY).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    known("a revoked key ends its sessions", async || session(0, &cookie).await == StatusCode::UNAUTHORIZED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_one_on_every_node_and_so_is_what_becomes_of_it() {
    let server = components::cluster("postgres").await;
    let urls = server.urls();
    let admin = async |node: usize, method: Method, path: &str, body: Value| {
        let request = server.client.request(method, format!("{}/admin/api/{path}", urls[node]));
        read(request.bearer_auth(ADMIN_KEY).json(&body).send().await.unwrap()).await
    };
    let sign_in = async |node: usize, password: &str| {
        let body = json!({"name": "kim", "password": password});
        server.client.post(format!("{}/admin/api/session", urls[node])).json(&body).send().await.unwrap()
    };
    let asks = async |node: usize, path: &str, cookie: &str| {
        let request = server.client.get(format!("{}/admin/api/{path}", urls[node])).header("cookie", cookie);
        request.send().await.unwrap().status()
    };
    let (status, made) = admin(0, Method::POST, "accounts", json!({"name": "kim", "role": "admin"})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    // At once, on whichever node the browser reaches.
    let password = made["password"].as_str().unwrap();
    let answer = sign_in(1, password).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    known("its session is known", async || asks(0, "accounts", &cookie).await == StatusCode::OK).await;
    let (status, _) = admin(1, Method::PUT, "accounts/kim", json!({"role": "viewer"})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(asks(1, "accounts", &cookie).await, StatusCode::FORBIDDEN);
    known("its role is known", async || asks(0, "accounts", &cookie).await == StatusCode::FORBIDDEN).await;
    assert_eq!(asks(0, "zones", &cookie).await, StatusCode::OK);
    let (status, _) = admin(0, Method::PUT, "accounts/kim", json!({"password": "another password"})).await;
    assert_eq!(status, StatusCode::OK);
    known("its session has ended", async || asks(1, "zones", &cookie).await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(sign_in(1, password).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(sign_in(1, "another password").await.status(), StatusCode::CREATED);

    let nodes = async |node: usize| {
        let (_, system) = admin(node, Method::GET, "system", json!({})).await;
        assert_eq!((&system["shape"], &system["ledger"]["kind"]), (&json!("cluster"), &json!("postgres")), "{system}");
        assert!(system["parts"].as_array().unwrap().iter().all(|part| part["well"] == true), "{system}");
        let nodes = system["nodes"].as_array().unwrap().clone();
        let own: Vec<_> = nodes.iter().filter(|node| node["self"] == true).map(|node| node["node"].clone()).collect();
        assert_eq!(own, [system["node"].clone()]);
        nodes.len()
    };
    known("the nodes know of each other", async || nodes(0).await == 2 && nodes(1).await == 2).await;

    // What a line does is seen on every node, whoever let people in.
    let (status, _) = admin(0, Method::PUT, "zones/Z", json!({"entry_limit_per_minute": 60, "slot_seconds": 1})).await;
    assert_eq!(status, StatusCode::CREATED);
    let slots = async |node: usize| {
        let (_, live) = admin(node, Method::GET, "zones/Z/live", json!({})).await;
        let slots = live["slots"].as_array().cloned().unwrap_or_default();
        let entered = slots.iter().filter_map(|slot| slot["entered"].as_u64()).sum::<u64>();
        (slots.len(), entered)
    };
    until("both nodes watch", SOON, async || slots(0).await.0 > 0 && slots(1).await.0 > 0).await;
    for _ in 0..20 {
        assert_eq!(server.join("Z").await.0, StatusCode::OK);
    }
    until("both nodes have seen it", SOON, async || slots(0).await.1 == 20 && slots(1).await.1 == 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_is_one_nodes_and_a_copy_of_it_is_survived() {
    let environment = environment("postgres");
    let folder = TempDir::new().unwrap();
    let serve = |data: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
        command.arg("serve").arg("--data").arg(folder.path().join(data)).args(["--listen", "127.0.0.1:0"]);
        command
            .env("BUNHO_ADMIN_KEY", ADMIN_KEY)
            .env("BUNHO_LOG__LEVEL", "error")
            .envs(environment.iter().map(|(name, value)| (name, value)));
        command
    };
    let mut first = launch(serve("one"));
    let again = serve("one").output().unwrap();
    assert_eq!(again.status.code(), Some(65), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--data"));

    std::fs::create_dir(folder.path().join("two")).unwrap();
    std::fs::copy(folder.path().join("one/node.id"), folder.path().join("two/node.id")).unwrap();
    let mut second = launch(serve("two"));
    let client = Client::new();
    for (turn, node) in [&first, &second].into_iter().enumerate() {
        for offer in 0..6 {
            let put = client.put(format!("{}/admin/api/offers/o{turn}-{offer}", node.url)).bearer_auth(ADMIN_KEY);
            let (status, answer) = read(put.json(&json!({"kind": "coupon", "quantity": 10})).send().await.unwrap()).await;
            assert!(status.is_success(), "{answer}");
        }
    }
    // Every partition is read on by somebody.
    for node in [&first, &second] {
        let list = async || {
            let request = client.get(format!("{}/v1/claims", node.url)).header("x-bunho-user", "u1");
            request.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
        };
        until("the ledger catches up", Duration::from_secs(60), list).await;
    }
    for node in [&mut first, &mut second] {
        node.process.kill().unwrap();
        node.process.wait().unwrap();
    }
}

/// A node that has just heard of a line knows what stops it before it says how the line is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_line_moves_at_once_on_every_node() {
    let server = components::cluster("postgres").await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 1, "hold_seconds": 60})).await;
    for (id, zone) in [("FREE", json!({"entry_limit_per_minute": 600})), ("TIED", json!({"entry_limit_per_minute": 600, "offer": "drop"}))]
    {
        server.put_zone(id, zone).await;
        for url in server.urls() {
            let state = server.client.get(format!("{url}/admin/api/zones/{id}")).bearer_auth(ADMIN_KEY).send().await.unwrap();
            assert_eq!(read(state).await.1["state"], "waiting", "{id}");
            let body = json!({"zoneId": id, "clientIp": "127.0.0.1", "clientAgent": "WEB"});
            let entered = server.client.post(format!("{url}/traffic/wait")).json(&body).send().await.unwrap();
            assert_eq!(read(entered).await.1["canEnter"], true, "{id}");
        }
    }
}

fn solve(challenge: &str, bits: u32) -> String {
    let zeros = |text: &String| {
        let digest = Sha256::digest(format!("{challenge}{text}"));
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).leading_zeros()
    };
    (0_u32..).map(|n| n.to_string()).find(|text| zeros(text) >= bits).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_is_the_same_on_every_node_and_outlives_all_of_them() {
    let mut server = components::cluster("mariadb").await;
    let urls = server.urls();
    let post = async |node: usize, path: &str, body: &Value| {
        read(server.client.post(format!("{}{path}", urls[node % urls.len()])).json(body).send().await.unwrap()).await
    };
    server.put_zone("GATE", json!({"entry_limit_per_minute": null, "challenge_bits": 8, "pass_bound": true})).await;
    let nameless = json!({"zoneId": "GATE", "key": "kim"});
    known("every node knows the door", async || {
        post(0, "/traffic/wait", &nameless).await.0 == StatusCode::FORBIDDEN
            && post(1, "/traffic/wait", &nameless).await.0 == StatusCode::FORBIDDEN
    })
    .await;
    // What one node asks for, another takes, and the place is one.
    let (_, asked) = post(0, "/traffic/wait", &nameless).await;
    let challenge = asked["challenge"].as_str().unwrap();
    let body = json!({"zoneId": "GATE", "key": "kim", "challenge": challenge, "solution": solve(challenge, 8)});
    let (status, there) = post(1, "/traffic/wait", &body).await;
    assert_eq!(status, StatusCode::OK, "{there}");
    let (status, here) = post(0, "/traffic/wait", &body).await;
    assert_eq!((status, &here["token"], &here["pass"]), (StatusCode::OK, &there["token"], &there["pass"]), "{here}");
    // The ticket says whose it is to whichever node is polled, and so does the pass.
    let (status, polled) = post(0, "/traffic/entry", &json!({"zoneId": "GATE", "token": there["token"]})).await;
    assert_eq!((status, &polled["pass"]), (StatusCode::OK, &there["pass"]), "{polled}");
    for url in &urls {
        for (key, opens) in [("kim", StatusCode::NO_CONTENT), ("lee", StatusCode::FORBIDDEN)] {
            let verify = server.client.get(format!("{url}/verify?zone=GATE")).header("bunho-client-key", key);
            let status = verify.header("bunho-pass", there["pass"].as_str().unwrap()).send().await.unwrap().status();
            assert_eq!(status, opens, "{key}");
        }
    }
    // Carried by Redis, by the topic and by SQL.
    server.until_projected().await;
    assert_eq!(server.sql("select challenge_bits, enqueue, pass_bound from zones where id = 'GATE'"), "8|open|1");
    server.kill();
    server.restart().await;
    let (_, zone) = server.admin(Method::GET, "zones/GATE", Value::Null).await;
    assert_eq!((&zone["challenge_bits"], &zone["pass_bound"]), (&json!(8), &json!(true)), "{zone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_takes_one_claim_at_every_node_and_stays_used_when_redis_is_made_anew() {
    let mut server = components::cluster("postgres").await;
    server.put_zone("GATE", json!({"entry_limit_per_minute": null})).await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 99, "zone": "GATE", "pass_once": true})).await;
    let joined = async || {
        let (status, joined) = server.join("GATE").await;
        (status, joined["pass"].as_str().unwrap_or_default().to_owned())
    };
    known("every node knows the zone", async || joined().await.0 == StatusCode::OK && joined().await.0 == StatusCode::OK).await;
    let ((_, pass), (_, unused)) = (joined().await, joined().await);
    let show = |server: &Server, user: u32, pass: &str| {
        let request = server.request(Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", format!("u{user}"));
        let request = request.header("bunho-pass", pass).json(&json!({"quantity": 1}));
        async { read(request.send().await.unwrap()).await }
    };
    known("every node knows the offer", async || {
        show(&server, 0, "").await.0 == StatusCode::FORBIDDEN && show(&server, 0, "").await.0 == StatusCode::FORBIDDEN
    })
    .await;
    let answers = futures_util::future::join_all((0..50).map(|user| show(&server, user, &pass))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == StatusCode::CREATED);
    assert_eq!((taken.len(), refused.len()), (1, 49), "{refused:?}");
    assert!(refused.iter().all(|(_, body)| body["code"] == "pass_used"), "{refused:?}");
    server.until_projected().await;
    assert_eq!(server.sql("select pass_once from offers where id = 'drop'"), "1");
    server.kill();
    let rebuilt = server.run("rebuild");
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    server.restart().await;
    for (pass, code) in [(&*pass, "pass_used"), (&*unused, "")] {
        // Whichever node is asked first.
        let (_, answer) = show(&server, 100, pass).await;
        assert_eq!(answer["code"].as_str().unwrap_or_default(), code, "{answer}");
    }
    let (_, answer) = show(&server, 101, &unused).await;
    assert_eq!(answer["code"], "pass_used", "{answer}");
    assert_eq!(server.offer("drop").await["held"], 2);
}
