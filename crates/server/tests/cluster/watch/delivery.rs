//! A line forms, a node dies: Teams, Slack and a webhook are told, in the form that each of them reads, and told when it is over.

use super::catcher::Catcher;
use super::programs::{alertmanager, prometheus};
use crate::harness::{Server, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const TOLD_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_and_its_end_reach_teams_slack_and_a_webhook() {
    let mut server = Server::start().await;
    let catcher = Catcher::start().await;
    let alertmanager = alertmanager(&catcher.url).await;
    let _prometheus = prometheus(&[server.url.clone()], Some(&alertmanager)).await;

    // Nobody waits yet, and one person is let in each minute.
    server.put_zone("DROP", json!({"entry_limit_per_minute": 1, "abandon_after_seconds": 3_600})).await;
    let mut waiting = Vec::new();
    for person in 0..4 {
        let (status, joined) = server.join("DROP").await;
        assert_eq!((status, joined["canEnter"].as_bool()), (StatusCode::OK, Some(person == 0)), "{joined}");
        waiting.push(joined["token"].as_str().unwrap().to_owned());
    }
    let title = "A line forms at DROP: 3 wait";
    let card = told(&catcher, "teams", &["BunhoLineForming".to_lowercase().as_str(), title]).await;
    assert_is_adaptive_card(&card, &format!("🟡 {title}"), "Attention");
    let text = card_text(&card);
    for part in [
        "DROP에 대기열이 생겼습니다: 3명 대기 중",
        "zone `DROP`",
        "[First steps (대응 절차)](https://pages.example.com/bunho/docs/runbook.md#bunholineforming)",
        "(https://alerts.example.com/#/alerts)",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let message = told(&catcher, "slack", &[title]).await;
    let attachment = &message["attachments"][0];
    assert_eq!(message["username"], "Bunho");
    assert_eq!(attachment["title"], format!("🟡 {title}"), "{message:#}");
    assert_eq!(attachment["title_link"], "https://pages.example.com/bunho/docs/runbook.md#bunholineforming");
    assert_eq!((&attachment["color"], &attachment["fallback"]), (&json!("warning"), &attachment["title"]));
    assert!(attachment["text"].as_str().unwrap().contains("|First steps (대응 절차)>"), "{message:#}");
    let call = told(&catcher, "webhook", &[title]).await;
    assert_eq!((&call["version"], &call["status"]), (&json!("4"), &json!("firing")), "{call:#}");
    let labels = json!({"alertname": "BunhoLineForming", "severity": "warning", "zone": "DROP"});
    assert_eq!(call["alerts"][0]["labels"], labels, "no label of the watching itself goes out: {call:#}");

    // They leave; the line is gone, and so is the alert.
    for token in &waiting {
        let (status, answer) = {
            let body = json!({"zoneId": "DROP", "token": token});
            crate::harness::read(server.request(Method::POST, "/traffic/leave").json(&body).send().await.unwrap()).await
        };
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    }
    let card = told(&catcher, "teams", &["Over (해제)", "DROP"]).await;
    assert_is_adaptive_card(&card, &format!("🟢 Over (해제): {}", "A line forms at DROP"), "Good");
    let message = told(&catcher, "slack", &["Over (해제)", "DROP"]).await;
    assert_eq!(message["attachments"][0]["color"], "good", "{message:#}");
    let call = told(&catcher, "webhook", &["\"status\":\"resolved\"", "BunhoLineForming"]).await;
    assert_eq!(call["status"], "resolved", "{call:#}");

    server.kill();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let title = format!("🔴 {address} does not answer");
    let card = told(&catcher, "teams", &["bunhonodedown", &title]).await;
    assert_is_adaptive_card(&card, &title, "Attention");
    let message = told(&catcher, "slack", &["bunhonodedown", &title]).await;
    assert_eq!(message["attachments"][0]["color"], "danger", "{message:#}");
}

/// The newest such message, once there is one.
async fn told(catcher: &Catcher, to: &str, words: &[&str]) -> Value {
    let what = format!("{to} is told {words:?}");
    let told = tokio::time::timeout(TOLD_WITHIN, until(&what, TOLD_WITHIN * 2, async || catcher.newest(to, words).is_some())).await;
    assert!(told.is_ok(), "waited {TOLD_WITHIN:?} in vain until {what}; what came: {}", catcher.all());
    catcher.newest(to, words).unwrap()
}

/// What a workflow of Teams takes: a message whose one attachment is a card, of the version that all clients show.
fn assert_is_adaptive_card(message: &Value, title: &str, color: &str) {
    assert_eq!(message["type"], "message", "{message:#}");
    let [attachment] = message["attachments"].as_array().unwrap().as_slice() else { panic!("{message:#}") };
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &attachment["content"];
    assert_eq!(card["$schema"], "http://adaptivecards.io/schemas/adaptive-card.json");
    assert_eq!((&card["type"], &card["version"]), (&json!("AdaptiveCard"), &json!("1.2")));
    let [heading, text] = card["body"].as_array().unwrap().as_slice() else { panic!("{message:#}") };
    for block in [heading, text] {
        assert_eq!((&block["type"], &block["wrap"]), (&json!("TextBlock"), &json!(true)), "{message:#}");
    }
    assert!(heading["text"].as_str().unwrap().starts_with(title), "{title} is not the title of {message:#}");
    assert_eq!((&heading["style"], &heading["color"]), (&json!("heading"), &json!(color)));
}

fn card_text(message: &Value) -> &str {
    message["attachments"][0]["content"]["body"][1]["text"].as_str().unwrap()
}
