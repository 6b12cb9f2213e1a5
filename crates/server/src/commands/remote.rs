//! `bunho zone …`, `bunho offer …` and `bunho webhook …`: the administration API from a shell.

use crate::cli::{OfferCommand, Running, Server, WebhookCommand, ZoneCommand};
use crate::exit::Failure;
use crate::http::admin::offers::OfferBody;
use crate::http::admin::zones::ZoneBody;
use crate::secrets::admin_key_path;
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{PemItem, TlsConfig, parse_pem};
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

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
        ZoneCommand::Set { id, settings } => return set::<ZoneBody>(server, &format!("zones/{id}"), &settings),
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
        OfferCommand::Set { id, settings } => return set::<OfferBody>(server, &format!("offers/{id}"), &settings),
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
    print(&Remote::new(server)?.call(method, path, body)?)
}

fn print(answer: &Value) -> Result<ExitCode, Failure> {
    if !answer.is_null() {
        super::print(&serde_json::to_string_pretty(answer).map_err(Failure::internal)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes some settings of what is at `path`, whose `PUT` takes a `Body`: that one replaces all of them, so the others go along as they are.
fn set<Body: PartialSchema>(server: &Server, path: &str, changes: &[String]) -> Result<ExitCode, Failure> {
    let remote = Remote::new(server)?;
    let Value::Object(mut settings) = remote.call("GET", path, None)? else {
        return Err(Failure::unavailable("the server's answer cannot be read"));
    };
    let revision = settings["revision"].to_string();
    // What is shown has numbers in it as well, which cannot be set.
    if let RefOr::T(Schema::Object(taken)) = Body::schema() {
        settings.retain(|name, _| taken.properties.contains_key(name));
    }
    for change in changes {
        let Some((name, value)) = change.split_once('=') else {
            return Err(Failure::configuration(format_args!("`{change}` is not NAME=VALUE")));
        };
        settings.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()));
    }
    // Somebody else's change in between is not undone: it is told.
    let unchanged = Some(format!("\"{revision}\""));
    print(&remote.send(TIMEOUT, "PUT", path, unchanged, Some(Value::Object(settings)))?)
}

/// A running server, and as whom it is asked.
pub(super) struct Remote {
    url: String,
    key: String,
    agent: Agent,
}

impl Remote {
    pub(super) fn new(server: &Server) -> Result<Self, Failure> {
        Self::at(&server.url, server.key.clone(), &server.data, server.ca.as_deref())
    }

    /// The one that is named, if one is.
    pub(super) fn of(running: &Running, data: &Path) -> Result<Option<Self>, Failure> {
        running.url.as_ref().map(|url| Self::at(url, running.key.clone(), data, running.ca.as_deref())).transpose()
    }

    fn at(url: &str, key: Option<String>, data: &Path, ca: Option<&Path>) -> Result<Self, Failure> {
        let agent = Agent::config_builder().http_status_as_error(false).tls_config(tls(ca)?).build().into();
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key: key_of(key, data)?, agent })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// One call of the administration API. Null: an answer without a body.
    pub(super) fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        self.call_for(TIMEOUT, method, path, body)
    }

    /// As [`Self::call`], for what takes longer.
    pub(super) fn call_for(&self, longest: Duration, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        self.send(longest, method, path, None, body)
    }

    fn send(&self, longest: Duration, method: &str, path: &str, if_match: Option<String>, body: Option<Value>) -> Result<Value, Failure> {
        let url = &self.url;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{url}/admin/api/{path}"))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        if let Some(revision) = if_match {
            request = request.header("if-match", revision);
        }
        let request = request
            .body(body.map_or_else(String::new, |body| body.to_string()))
            .map_err(|error| Failure::configuration(format_args!("{url} or the id cannot be in a URL: {error}")))?;
        let request = self.agent.configure_request(request).timeout_global(Some(longest)).build();
        let mut answer = self.agent.run(request).map_err(|error| {
            let authority = if url.starts_with("https:") { "; an authority that is not a public one is named with --ca" } else { "" };
            Failure::unavailable(format_args!(
                "{url} did not answer: {error}\n  mend: start it with `bunho serve`, or name it with --url{authority}"
            ))
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
}

/// The key that was given, or the one that the first start of a server in `data` kept.
fn key_of(given: Option<String>, data: &Path) -> Result<String, Failure> {
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

/// Whom to believe: the authorities of a file, or public ones.
pub(super) fn tls(ca: Option<&Path>) -> Result<TlsConfig, Failure> {
    let Some(path) = ca else { return Ok(TlsConfig::default()) };
    let refused = |why: &dyn Display| Failure::configuration(format_args!("--ca {}: {why}\n  mend: name a PEM file", path.display()));
    let pem = std::fs::read(path).map_err(|error| refused(&error))?;
    let mut authorities = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(authority) = item.map_err(|error| refused(&error))? {
            authorities.push(authority);
        }
    }
    if authorities.is_empty() {
        return Err(refused(&"it has no certificate"));
    }
    Ok(TlsConfig::builder().root_certs(authorities.into()).build())
}
