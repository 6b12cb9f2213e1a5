//! A whole node in a folder of its own, for targets that are requests: engine, journal, ledger and router, no sockets.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bunho_domain::time::Millis;
use bunho_engine::Ack;
use bunho_journal::Audit;
use bunho_ledger::NewKey;
use bunho_server::app::{App, Parts};
use bunho_server::auth::accounts::Accounts;
use bunho_server::auth::keys::{Keys, key_hash};
use bunho_server::auth::sessions::Sessions;
use bunho_server::config::{Config, Settings};
use bunho_server::door::Doorkeeper;
use bunho_server::node::Node;
use bunho_server::pass::Passes;
use bunho_server::problem::KINDS;
use bunho_server::router;
use bunho_server::secrets::tickets::TicketSecrets;
use bunho_server::webhooks::Webhooks;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tower::ServiceExt;

/// Calls after which a node is thrown away: what it keeps in memory must not be what ends a long run.
const CALLS_MAX: u32 = 20_000;

/// A node with something of everything in it.
pub(crate) struct Rig {
    live: Option<Live>,
    /// What stands in an input for what only this node can give: `@ticket` and the like.
    names: Vec<(&'static str, String)>,
    calls: u32,
    _data: TempDir,
}

/// What must end in order.
struct Live {
    runtime: Runtime,
    router: Router,
    stop: watch::Sender<bool>,
    node: Node,
}

impl Drop for Rig {
    /// Connections of the ledger want a runtime around them when they end; a thread that ends has none to give any more.
    fn drop(&mut self) {
        let Some(Live { runtime, router, stop, node }) = self.live.take() else { return };
        let ended = std::thread::spawn(move || {
            stop.send_replace(true);
            runtime.block_on(async move {
                drop(router);
                node.close().await;
            });
        });
        let _ = ended.join();
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Lends this thread's node.
pub(crate) fn with_rig(call: impl FnOnce(&mut Rig)) {
    thread_local! {
        static RIG: RefCell<Option<Rig>> = const { RefCell::new(None) };
    }
    RIG.with_borrow_mut(|rig| {
        if rig.as_ref().is_some_and(|rig| rig.calls >= CALLS_MAX) {
            *rig = None;
        }
        let rig = rig.get_or_insert_with(Rig::new);
        rig.calls += 1;
        call(rig);
    });
}

/// An app over a node in `data`, with a key of each role.
pub(crate) async fn app(config: Config) -> (Node, Arc<App>, watch::Sender<bool>) {
    let node = Node::open(&config).await.unwrap_or_else(|failure| panic!("{failure}"));
    for role in ["admin", "operator", "viewer", "service"] {
        let audit = Audit { actor: "fuzz".into(), action: "key.new".into(), target: role.into(), detail: None, request_id: None };
        let key = NewKey { id: role, role, name: role, key_hash: &key_hash(&format!("bk_{role}")), expires_at: None, certificate: None };
        node.ledger().insert_key(&key, Millis(0), &audit).await.expect("the ledger can be written");
    }
    let (stop, shutdown) = watch::channel(false);
    let config = Arc::new(config);
    let app = App::new(Parts {
        engine: node.engine(),
        record: node.record(),
        ledger: node.ledger().clone(),
        passes: Passes::load(&config.data, &*config.pass_issuer).unwrap_or_else(|failure| panic!("{failure}")),
        config: config.clone(),
        keys: Keys::load(node.ledger()).await.expect("the ledger can be read"),
        sessions: Sessions::load(&[7; 32], node.ledger()).await.expect("the ledger can be read"),
        accounts: Accounts::load(node.ledger()).await.expect("the ledger can be read"),
        node: "fuzzed".into(),
        findings: Vec::new(),
        user_tokens: None,
        tickets: TicketSecrets::load(&config.secrets).unwrap_or_else(|failure| panic!("{failure}")),
        tls: None,
        webhooks: Arc::new(Webhooks::new(&config, node.ledger().clone()).unwrap_or_else(|failure| panic!("{failure}"))),
        doorkeeper: Doorkeeper::load(&config.join, &[7; 32]).expect("its settings are good"),
        reconcile: Box::new(|_repair| Box::pin(async { Ok(json!({"equal": true})) })),
        shutdown,
    });
    (node, app, stop)
}

/// Settings of a node that answers without waiting for a disk.
pub(crate) fn config(data: &TempDir) -> Config {
    let mut settings = Settings::default();
    settings.data.dir = data.path().to_owned();
    let mut config = settings.check().expect("defaults are good");
    config.ack = Ack::Engine;
    config
}

impl Rig {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let data = tempfile::tempdir().expect("a folder");
        let (node, app, stop) = runtime.block_on(app(config(&data)));
        let router = runtime.block_on(async { router::public(app, None) });
        let live = Some(Live { runtime, router, stop, node });
        let mut rig = Self { live, names: Vec::new(), calls: 0, _data: data };
        for (path, body) in [
            ("zones/LINE", json!({"entry_limit_per_minute": 0})),
            ("zones/OPEN", json!({"entry_limit_per_minute": null})),
            ("offers/thanks", json!({"kind": "coupon", "quantity": 100_000})),
            ("offers/drop", json!({"kind": "goods", "quantity": 100_000, "max_per_claim": 10, "standby": true, "grants": "thanks"})),
            ("offers/few", json!({"kind": "booking", "quantity": 1, "standby": true, "zone": "OPEN", "confirm_by": "user"})),
        ] {
            let put = rig.admin(&format!("PUT /admin/api/{path}"), Some(&body));
            assert!(put.status.is_success(), "{path}: {}", put.body);
        }
        rig.names = rig.made();
        rig
    }

    fn made(&self) -> Vec<(&'static str, String)> {
        let as_user = "POST {}\nx-bunho-user: u1\ncontent-type: application/json\n\n";
        let made = |path: &str, body: &str, field: &str| {
            let answer = self.send(request(&format!("{}{body}", as_user.replace("{}", path)).into_bytes()).expect("a request"));
            answer.body[field].as_str().unwrap_or_else(|| panic!("{path}: {}", answer.body)).to_owned()
        };
        vec![
            ("@ticket", made("/traffic/wait", r#"{"zoneId":"LINE"}"#, "token")),
            ("@pass", made("/traffic/wait", r#"{"zoneId":"OPEN"}"#, "pass")),
            ("@claim", made("/v1/offers/drop/claims", r#"{"quantity":1}"#, "id")),
        ]
    }

    /// Puts this node's own tickets and ids where the input asks for them.
    pub(crate) fn named(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (name, value) in &self.names {
            while let Some(at) = bytes.windows(name.len()).position(|window| window == name.as_bytes()) {
                bytes.splice(at..at + name.len(), value.bytes());
            }
        }
        bytes
    }

    /// Sends a request and checks what is true of every answer.
    pub(crate) fn send(&self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let head = request.method() == axum::http::Method::HEAD;
        let Live { runtime, router, .. } = self.live.as_ref().expect("it lives until it is dropped");
        let (parts, bytes) = runtime.block_on(async {
            let (parts, mut body) = router.clone().oneshot(request).await.expect("infallible").into_parts();
            let endless = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
            let bytes = if endless {
                let frame = body.frame().await.expect("a stream says something at once").expect("bytes");
                frame.into_data().expect("data")
            } else {
                body.collect().await.expect("a body").to_bytes()
            };
            (parts, bytes)
        });
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        answer.check(&what, head);
        answer
    }

    /// As an administrator.
    pub(crate) fn admin(&self, line: &str, body: Option<&Value>) -> Answer {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        self.call(line, &[("authorization", "Bearer bk_admin")], body)
    }

    /// With headers and a body that is called JSON.
    pub(crate) fn call(&self, line: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let (method, path) = line.split_once(' ').expect("METHOD path");
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).expect("a request"))
    }
}

impl Answer {
    /// A status and a code of the contract, and never our own failure.
    fn check(&self, what: &str, head: bool) {
        assert!(self.headers.contains_key("x-request-id"), "{what}");
        assert_ne!(self.status, StatusCode::INTERNAL_SERVER_ERROR, "{what}: {}", self.body);
        if self.status.is_success() || self.status.is_redirection() {
            let json = self.headers.get("content-type").is_some_and(|kind| kind == "application/json");
            assert!(!json || head || !self.body.is_null(), "{what} answers with JSON that is none");
            return;
        }
        assert_eq!(self.headers["content-type"], "application/problem+json", "{what}");
        assert_eq!(self.headers.contains_key("retry-after"), matches!(self.status.as_u16(), 429 | 503), "{what}: {}", self.body);
        if head {
            return;
        }
        let code = self.body["code"].as_str().unwrap_or_default();
        let kind = KINDS.iter().find(|kind| kind.code == code).unwrap_or_else(|| panic!("{what}: {} has no code of ours", self.body));
        // `/verify` says 401 where others say 403, for the proxies that ask it.
        let verify = matches!(code, "pass_invalid" | "pass_required") && self.status == StatusCode::UNAUTHORIZED;
        assert!(kind.status == self.status.as_u16() || verify, "{what}: {} {}", self.status, self.body);
        assert_eq!(self.body["status"], self.status.as_u16(), "{what}");
        assert_eq!(self.body["request_id"].as_str(), self.headers["x-request-id"].to_str().ok(), "{what}");
        if code == "invalid_request" {
            assert!(self.body["errors"][0]["field"].is_string() && self.body["errors"][0]["reason"].is_string(), "{what}: {}", self.body);
        }
    }
}

/// A request from `METHOD target`, header lines, an empty line and a body; none where hyper would not have made one of it.
pub(crate) fn request(bytes: &[u8]) -> Option<Request<Body>> {
    let (head, body) = crate::halves(bytes);
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.next()?;
    let at = line.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::builder().method(&line[..at]).uri(&line[at + 1..]);
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..at], line[at + 1..].trim_ascii());
    }
    request.body(Body::from(body.to_vec())).ok()
}
