//! `bunho zone …`, `bunho offer …` and `bunho webhook …`: the administration API from a shell.

use crate::cli::{OfferCommand, Server, WebhookCommand, ZoneCommand};
use crate::exit::Failure;
use crate::secrets::admin_key_path;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use ureq::http::Request;

/// Longer than the server's own limit on an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Does something with zones.
///
/// # Errors
/// The server is unreachable, or refuses.
pub fn zone(server: &Server, command: ZoneCommand) -> Result<ExitCode, Failure> {
    let (method, path, body) = match command {
        ZoneCommand::List => ("GET", "zones".to_string(), None),
        ZoneCommand::Get { id } => ("GET", format!("zones/{id}"), None),
        ZoneCommand::Put { id, body } => ("PUT", format!("zones/{id}"), Some(parse(body)?)),
        ZoneCommand::Delete { id } => ("DELETE", format!("zones/{id}"), None),
        ZoneCommand::Pause { id } => ("POST", format!("zones/{id}/pause"), Some(json!({}))),
        ZoneCommand::Resume { id } => ("POST", format!("zones/{id}/resume"), Some(json!({}))),
        ZoneCommand::Reset { id } => ("POST", format!("zones/{id}/reset"), Some(json!({}))),
    };
    show(server, method, &path, body)
}

/// Does something with offers.
///
/// # Errors
/// The server is unreachable, or refuses.
pub fn offer(server: &Server, command: OfferCommand) -> Result<ExitCode, Failure> {
    let (method, path, body) = match command {
        OfferCommand::List => ("GET", "offers".to_string(), None),
        OfferCommand::Get { id } => ("GET", format!("offers/{id}"), None),
        OfferCommand::Put { id, body } => ("PUT", format!("offers/{id}"), Some(parse(body)?)),
        OfferCommand::Delete { id } => ("DELETE", format!("offers/{id}"), None),
        OfferCommand::Restock { id, delta } => ("POST", format!("offers/{id}/restock"), Some(json!({ "delta": delta }))),
        OfferCommand::Close { id } => ("POST", format!("offers/{id}/close"), Some(json!({}))),
    };
    show(server, method, &path, body)
}

/// Does something with webhooks.
///
/// # Errors
/// The server is unreachable, or refuses.
pub fn webhook(server: &Server, command: WebhookCommand) -> Result<ExitCode, Failure> {
    let one = |delivery: Option<i64>| Some(delivery.map_or_else(|| json!({}), |delivery| json!({ "delivery": delivery })));
    let (method, path, body) = match command {
        WebhookCommand::List => ("GET", "webhooks".to_string(), None),
        WebhookCommand::Get { id } => ("GET", format!("webhooks/{id}"), None),
        WebhookCommand::New { body } => ("POST", "webhooks".to_string(), Some(parse(body)?)),
        WebhookCommand::Put { id, body } => ("PUT", format!("webhooks/{id}"), Some(parse(body)?)),
        WebhookCommand::Delete { id } => ("DELETE", format!("webhooks/{id}"), None),
        WebhookCommand::Secret { id, previous_seconds } => {
            ("POST", format!("webhooks/{id}/secret"), Some(json!({ "previous_seconds": previous_seconds })))
        }
        WebhookCommand::Test { id } => ("POST", format!("webhooks/{id}/test"), Some(json!({}))),
        WebhookCommand::Deliveries { id, pending } => {
            ("GET", format!("webhooks/{id}/deliveries?state={}", if pending { "pending" } else { "dead" }), None)
        }
        WebhookCommand::Redeliver { id, delivery } => ("POST", format!("webhooks/{id}/redeliver"), one(delivery)),
        WebhookCommand::Discard { id, delivery, pending } => {
            let mut body = one(delivery);
            if let (true, Some(body)) = (pending, &mut body) {
                body["state"] = "pending".into();
            }
            ("POST", format!("webhooks/{id}/discard"), body)
        }
    };
    show(server, method, &path, body)
}

fn parse(text: String) -> Result<Value, Failure> {
    let text = if text == "-" {
        let mut input = String::new();
        std::io::stdin().read_to_string(&mut input).map_err(Failure::configuration)?;
        input
    } else {
        text
    };
    serde_json::from_str(&text).map_err(|error| Failure::configuration(format_args!("the body is not JSON: {error}")))
}

fn show(server: &Server, method: &str, path: &str, body: Option<Value>) -> Result<ExitCode, Failure> {
    let key = key(server.key.clone(), &server.data)?;
    let answer = call(&server.url, &key, method, path, body)?;
    if !answer.is_null() {
        super::print(&serde_json::to_string_pretty(&answer).map_err(Failure::internal)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The key that was given, or the one that the first start of a server in `data` kept.
pub(super) fn key(given: Option<String>, data: &Path) -> Result<String, Failure> {
    if let Some(key) = given {
        return Ok(key);
    }
    let path = admin_key_path(data);
    std::fs::read_to_string(&path).map(|text| text.trim().to_string()).map_err(|error| {
        Failure::configuration(format_args!(
            "no key: {} cannot be read ({error})\n  mend: give --key or BUNHO_ADMIN_KEY, or --data with the server's data folder",
            path.display()
        ))
    })
}

/// One call of the administration API. Null: an answer without a body.
pub(super) fn call(url: &str, key: &str, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
    call_for(TIMEOUT, url, key, method, path, body)
}

/// As [`call`], for what takes longer.
pub(super) fn call_for(longest: Duration, url: &str, key: &str, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(longest)).http_status_as_error(false).build().into();
    let body = body.map_or_else(String::new, |body| body.to_string());
    let request = Request::builder()
        .method(method)
        .uri(format!("{}/admin/api/{path}", url.trim_end_matches('/')))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body)
        .map_err(|error| Failure::configuration(format_args!("{url} or the id cannot be in a URL: {error}")))?;
    let mut answer = agent.run(request).map_err(|error| {
        Failure::unavailable(format_args!("{url} did not answer: {error}\n  mend: start it with `bunho serve`, or name it with --url"))
    })?;
    let text = answer.body_mut().read_to_string().map_err(|error| Failure::unavailable(format_args!("{url} broke off: {error}")))?;
    let value: Value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    if answer.status().is_success() {
        return Ok(value);
    }
    let code = value["code"].as_str().unwrap_or("unexpected");
    let detail = value["detail"].as_str().unwrap_or_default();
    let errors = value.get("errors").map(|errors| format!("\n  {errors}")).unwrap_or_default();
    Err(Failure::configuration(format_args!("refused ({} {code}): {detail}{errors}", answer.status().as_u16())))
}
