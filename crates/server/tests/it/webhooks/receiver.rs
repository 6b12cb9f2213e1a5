//! Somebody who is told: a real server that keeps what came and answers as it is told to. What came is verified with the specification's own
//! library, which shares nothing with what signs.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How it answers.
#[derive(Clone, Debug)]
pub enum Manner {
    Takes,
    Answers(u16),
    /// With a head of its own.
    With(u16, &'static str, String),
    Hangs,
    TakesAfter(Duration),
    /// An answer that does not end.
    Floods,
    /// An answer whose body begins and stands still.
    Stalls,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug)]
struct Inside {
    manner: Mutex<Manner>,
    got: Mutex<Vec<Got>>,
    under_way: AtomicUsize,
    under_way_most: AtomicUsize,
}

#[derive(Clone)]
pub struct Receiver {
    inside: Arc<Inside>,
    pub port: u16,
}

impl Receiver {
    pub async fn start(manner: Manner) -> Self {
        let inside = Inside {
            manner: Mutex::new(manner),
            got: Mutex::default(),
            under_way: AtomicUsize::new(0),
            under_way_most: AtomicUsize::new(0),
        };
        let inside = Arc::new(inside);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(receive).with_state(inside.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { inside, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks?of=bunho", self.port)
    }

    pub fn router(&self) -> Router {
        Router::new().fallback(receive).with_state(self.inside.clone())
    }

    pub fn be(&self, manner: Manner) {
        *self.inside.manner.lock().unwrap() = manner;
    }

    pub fn got(&self) -> Vec<Got> {
        self.inside.got.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.inside.got.lock().unwrap().len()
    }

    pub fn forget(&self) {
        self.inside.got.lock().unwrap().clear();
    }

    /// Most requests that were under way at a time.
    pub fn under_way_most(&self) -> usize {
        self.inside.under_way_most.load(Ordering::SeqCst)
    }

    /// What came, by its type; each message once however often it came.
    pub fn by_type(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for got in self.got() {
            let event = got.event();
            found.entry(event["type"].as_str().unwrap().to_owned()).or_default().insert(event["subject"].as_str().unwrap().to_owned());
        }
        found
    }

    /// What a type was told of.
    pub fn subjects(&self, of: &str) -> BTreeSet<String> {
        self.by_type().remove(of).unwrap_or_default()
    }
}

impl Got {
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Whether it is signed by whoever has this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        standardwebhooks::Webhook::new(secret).unwrap().verify(&self.body, &self.headers).is_ok()
    }
}

async fn receive(State(inside): State<Arc<Inside>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    /// Counts down also when whoever asked has gone.
    struct Leaving(Arc<Inside>);
    impl Drop for Leaving {
        fn drop(&mut self) {
            self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let under_way = inside.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    inside.under_way_most.fetch_max(under_way, Ordering::SeqCst);
    let _leaving = Leaving(inside.clone());
    inside.got.lock().unwrap().push(Got { path: uri.to_string(), headers, body });
    let manner = inside.manner.lock().unwrap().clone();
    match manner {
        Manner::Takes => StatusCode::NO_CONTENT.into_response(),
        Manner::Answers(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Manner::With(status, name, value) => (StatusCode::from_u16(status).unwrap(), [(name, value)]).into_response(),
        Manner::Hangs => std::future::pending().await,
        Manner::TakesAfter(pause) => {
            tokio::time::sleep(pause).await;
            StatusCode::OK.into_response()
        }
        Manner::Floods => {
            let endless = futures_util::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 16_384])));
            axum::body::Body::from_stream(endless).into_response()
        }
        Manner::Stalls => {
            let first = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from_static(b"o"))]);
            axum::body::Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending())).into_response()
        }
    }
}
