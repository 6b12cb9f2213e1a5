//! The whole edge over a real node in a folder of its own: requests in, answers out, no sockets. Here is what all of them stand on.

#[path = "tests/accounts.rs"]
mod accounts;
#[path = "tests/admin.rs"]
mod admin;
#[path = "tests/console.rs"]
mod console;
#[path = "tests/door.rs"]
mod door;
#[path = "tests/edge.rs"]
mod edge;
#[path = "tests/headers.rs"]
mod headers;
#[path = "tests/keys.rs"]
mod keys;
#[path = "tests/line.rs"]
mod line;
#[path = "tests/offers.rs"]
mod offers;
#[path = "tests/wait.rs"]
mod wait;

use super::*;
use crate::app::Parts;
use crate::auth::Peer;
use crate::auth::accounts::Accounts;
use crate::auth::keys::{Keys, key_hash};
use crate::auth::sessions::Sessions;
use crate::config::{Config, Network, Settings, Users};
use crate::door::Doorkeeper;
use crate::node::Node;
use crate::pass::Passes;
use crate::webhooks::Webhooks;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use bunho_ledger::NewKey;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

const ADMIN: &str = "bk_admin";
const OPERATOR: &str = "bk_operator";
const VIEWER: &str = "bk_viewer";
const SERVICE: &str = "bk_service";

struct Rig {
    router: Router,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    _node: Node,
    _data: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn rig() -> Rig {
    rig_with(|_| {}).await
}

async fn rig_with(edit: impl FnOnce(&mut Config)) -> Rig {
    let data = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::default();
    settings.data.dir = data.path().to_owned();
    let mut config = settings.check().expect("defaults are good");
    edit(&mut config);
    let failed = |failure: crate::exit::Failure| -> Node { panic!("{failure:?}") };
    let node = Node::open(&config).await.unwrap_or_else(failed);
    for (key, role) in [(ADMIN, "admin"), (OPERATOR, "operator"), (VIEWER, "viewer"), (SERVICE, "service")] {
        let audit = Audit { actor: "test".into(), action: "key.new".into(), target: role.into(), detail: None, request_id: None };
        let new = NewKey { id: role, role, name: role, key_hash: &key_hash(key), expires_at: None, certificate: None };
        node.ledger().insert_key(&new, Millis(0), &audit).await.expect("the ledger can be written");
    }
    let (stop, shutdown) = watch::channel(false);
    let config = Arc::new(config);
    let app = App::new(Parts {
        engine: node.engine(),
        record: node.record(),
        ledger: node.ledger().clone(),
        passes: Passes::load(&config.data, &*config.pass_issuer).unwrap_or_else(|failure| panic!("{failure:?}")),
        config: config.clone(),
        keys: Keys::load(node.ledger()).await.expect("the ledger can be read"),
        doorkeeper: Doorkeeper::load(&config.join, &[7; 32]).expect("its settings are good"),
        sessions: Sessions::load(&[7; 32], node.ledger()).await.expect("the ledger can be read"),
        accounts: Accounts::load(node.ledger()).await.expect("the ledger can be read"),
        node: node.name(),
        findings: Vec::new(),
        user_tokens: None,
        tickets: crate::secrets::tickets::TicketSecrets::load(&config.secrets).unwrap_or_else(|failure| panic!("{failure:?}")),
        tls: None,
        reconcile: Box::new(|_repair| Box::pin(async { Ok(json!({"equal": true})) })),
        webhooks: Arc::new(Webhooks::new(&config, node.ledger().clone()).unwrap_or_else(|failure| panic!("{failure:?}"))),
        shutdown,
    });
    Rig { router: public(app.clone(), None), app, stop, _node: node, _data: data }
}

/// A request as `METHOD path`, with headers and perhaps a JSON body.
fn request(line: &str, headers: &[(&str, &str)], body: Option<Value>) -> Request<Body> {
    let (method, path) = line.split_once(' ').expect("METHOD path");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .expect("a request")
}

impl Rig {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        assert!(parts.headers.contains_key("x-request-id"));
        if !parts.status.is_success() && parts.status != StatusCode::PERMANENT_REDIRECT {
            assert_eq!(parts.headers["content-type"], "application/problem+json");
            assert_eq!(body["status"], parts.status.as_u16());
            assert_eq!(body["request_id"], parts.headers["x-request-id"].to_str().expect("ASCII"));
        }
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, line: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        self.send(request(line, headers, body)).await
    }

    async fn admin(&self, line: &str, body: Option<Value>) -> Answer {
        self.call(line, &[("authorization", &format!("Bearer {ADMIN}"))], body).await
    }

    async fn user(&self, user: &str, line: &str, body: Option<Value>) -> Answer {
        self.call(line, &[("x-bunho-user", user)], body).await
    }

    async fn service(&self, user: Option<&str>, line: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {SERVICE}");
        let mut headers = vec![("authorization", &*bearer)];
        headers.extend(user.map(|user| ("x-bunho-user", user)));
        self.call(line, &headers, body).await
    }

    async fn put(&self, line: &str, body: Value) {
        let answer = self.admin(line, Some(body)).await;
        assert!(answer.status.is_success(), "{line}: {}", answer.body);
    }
}

impl Answer {
    #[track_caller]
    fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    #[track_caller]
    fn refuses(&self, status: u16, code: &str) -> &Self {
        self.is(status);
        assert_eq!(self.body["code"], code, "{}", self.body);
        self
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}
