//! An embedded installation is moved to a cluster: everything that clients hold goes on to be good.

use crate::components;
use crate::harness::{ADMIN_KEY, Server, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::Duration;

pub fn bunho(environment: &[(&str, String)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
    command.args(arguments).env("BUNHO_ADMIN_KEY", ADMIN_KEY).envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    command.output().unwrap()
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_keys_tickets_and_passes_are_good_after_a_move() {
    let mut old = Server::start().await;
    old.put_offer("thanks", json!({"kind": "coupon", "quantity": 10, "grant_only": true})).await;
    old.put_offer("stay", json!({"kind": "booking", "quantity": 10, "hold_seconds": 600, "grants": "thanks", "standby": true})).await;
    old.put_zone("LINE", json!({"entry_limit_per_minute": 1, "offer": "stay"})).await;
    old.put_offer("few", json!({"kind": "goods", "quantity": 1, "hold_seconds": 0, "zone": "LINE"})).await;
    let inside = old.join("LINE").await.1;
    let waits = old.join("LINE").await.1;
    assert_eq!((inside["canEnter"].as_bool(), waits["canEnter"].as_bool()), (Some(true), Some(false)));
    // Nobody else enters, however long the move takes.
    assert_eq!(old.admin(Method::POST, "zones/LINE/pause", json!({})).await.0, StatusCode::OK);
    let mut claims = Vec::new();
    for guest in 0..5 {
        let (status, claim) = old.claim("stay", &format!("g{guest}"), Some("k"), json!({"quantity": 2, "attributes": {"봄": guest}})).await;
        assert_eq!(status, StatusCode::CREATED, "{claim}");
        let id = claim["id"].as_str().unwrap().to_owned();
        if guest % 2 == 0 {
            assert_eq!(old.service_post(&format!("/v1/claims/{id}/confirm"), json!({})).await.0, StatusCode::OK);
        }
        claims.push(old.user_get(&format!("g{guest}"), &format!("/v1/claims/{id}")).await.1);
    }
    let (_, standby) = old.user_post("late", "/v1/offers/stay/standby", json!({"quantity": 2})).await;
    let (_, key) = old.admin(Method::POST, "keys", json!({"role": "service", "name": "shop"})).await;
    let (_, account) = old.admin(Method::POST, "accounts", json!({"name": "kim", "role": "operator"})).await;
    let page = json!({"texts": {"ko": {"in_title": "환영해요 🙂"}}, "return_to": ["/shop/"]});
    assert_eq!(old.admin(Method::PUT, "zones/LINE/page", page).await.0, StatusCode::OK);
    // What is deleted is not moved, and its number, with which the ids of its claims begin, is not given again.
    old.put_offer("gone", json!({"kind": "goods", "quantity": 1})).await;
    assert_eq!(old.admin(Method::DELETE, "offers/gone", json!({})).await.0, StatusCode::NO_CONTENT);
    assert_eq!(old.stop(), 0);

    let file = old.data().join("moved.jsonl");
    let file = file.to_str().unwrap();
    let exported = bunho(&[], &["export", "--data", old.data().to_str().unwrap(), file]);
    assert!(exported.status.success(), "{}", said(&exported));
    let environment = tokio::task::spawn_blocking(|| components::environment("postgres")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let mut another = Server::start().await;
    another.put_offer("thanks", json!({"kind": "coupon", "quantity": 10})).await;
    assert_eq!(another.stop(), 0);
    let others = another.data().join("others.jsonl");
    let exported = bunho(&[], &["export", "--data", another.data().to_str().unwrap(), others.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", said(&exported));
    // A file that was cut off moves nothing.
    let whole = std::fs::read_to_string(file).unwrap();
    let cut = folder.path().join("cut.jsonl");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let refused = bunho(&environment, &["import", "--data", place, cut.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(65), "{}", said(&refused));
    // Twice, as after one that was cut off.
    for _ in 0..2 {
        let imported = bunho(&environment, &["import", "--data", place, file]);
        assert!(imported.status.success(), "{}", said(&imported));
    }

    // Where something was moved to, nothing else is: its offers would go under.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut fresh = environment.clone();
    fresh.retain(|(name, _)| *name != "BUNHO_CLUSTER__SECRETS_DIR");
    fresh.push(("BUNHO_CLUSTER__SECRETS_DIR", elsewhere.path().display().to_string()));
    let refused = bunho(&fresh, &["import", "--data", place, others.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(65), "{}", said(&refused));
    assert!(said(&refused).contains("was begun"), "{}", said(&refused));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing of it is here");

    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let new = Server::start_nodes(2, &environment, &[]).await;
    for (guest, claim) in claims.iter().enumerate() {
        let user = format!("g{guest}");
        let id = claim["id"].as_str().unwrap();
        assert_eq!(new.user_get(&user, &format!("/v1/claims/{id}")).await.1, *claim);
        let (status, again) = new.claim("stay", &user, Some("k"), json!({"quantity": 2, "attributes": {"봄": guest}})).await;
        assert_eq!((status, &again["id"]), (StatusCode::CREATED, &claim["id"]), "the key answers the same");
    }
    let stay = new.offer("stay").await;
    assert_eq!((&stay["held"], &stay["confirmed"], &stay["standby"]), (&json!(4), &json!(6), &json!(1)));
    assert_eq!(new.offer("thanks").await["confirmed"], 3);
    // Who waits is served next.
    let freed = claims[1]["id"].as_str().unwrap();
    assert_eq!(new.user_post("g1", &format!("/v1/claims/{freed}/release"), json!({})).await.0, StatusCode::OK);
    let place = format!("/v1/standby/{}", standby["id"].as_str().unwrap());
    assert_eq!(new.user_get("late", &place).await.1["status"], "served");
    let (_, booked) = new.service_post(&format!("/v1/claims/{}/confirm", claims[3]["id"].as_str().unwrap()), json!({})).await;
    assert_eq!(booked["granted"].as_array().map(Vec::len), Some(1), "what grants still does: {booked}");

    let (zone, pass) = ("LINE", inside["pass"].as_str().unwrap());
    let shop = new.request(Method::POST, "/v1/offers/few/claims").header("x-bunho-user", "u").header("bunho-pass", pass);
    assert_eq!(shop.json(&json!({"quantity": 1})).send().await.unwrap().status(), StatusCode::CREATED, "a pass is good");
    let (_, page) = new.admin(Method::GET, "zones/LINE/page", json!({})).await;
    assert_eq!((&page["revision"], &page["texts"]["ko"]["in_title"]), (&json!(1), &json!("환영해요 🙂")), "{page}");
    let token = waits["token"].as_str().unwrap();
    let waiting = async || new.poll(zone, token).await.1["waiting"]["rank"] == json!(1);
    until("who waited has the same place", Duration::from_secs(60), waiting).await;
    let asked = new.request(Method::GET, "/v1/claims?user=g0").bearer_auth(key["key"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::OK, "a service's key is good: {}", asked.json::<Value>().await.unwrap_or_default());
    let signed_in = new.request(Method::POST, "/admin/api/session").json(&json!({"name": "kim", "password": account["password"]}));
    assert_eq!(signed_in.send().await.unwrap().status(), StatusCode::CREATED, "an account is good");
    new.put_offer("next", json!({"kind": "goods", "quantity": 1})).await;
    assert_eq!(new.sql("SELECT number FROM directory WHERE id = 'next'"), "5", "the fourth was deleted");
    new.until_projected().await;
    new.assert_reconciled();
}
