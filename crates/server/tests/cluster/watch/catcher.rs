//! Stands where Teams, Slack and a webhook would: takes what Alertmanager sends, as it is sent.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// Messages with the last part of the path that they came to, oldest first.
type Messages = Arc<Mutex<Vec<(String, Value)>>>;

pub struct Catcher {
    pub url: String,
    messages: Messages,
    serving: tokio::task::JoinHandle<()>,
}

impl Catcher {
    pub async fn start() -> Self {
        let messages = Messages::default();
        let router = Router::new().route("/{to}", post(take)).with_state(messages.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { url, messages, serving: tokio::spawn(async { axum::serve(listener, router).await.unwrap() }) }
    }

    /// The newest message to `to` whose text has all these words in it.
    pub fn newest(&self, to: &str, words: &[&str]) -> Option<Value> {
        let messages = self.messages.lock().unwrap();
        let mut newest_first = messages.iter().rev().filter(|(name, _)| name == to).map(|(_, message)| message);
        newest_first.find(|message| words.iter().all(|word| message.to_string().contains(word))).cloned()
    }

    pub fn all(&self) -> String {
        format!("{:#?}", self.messages.lock().unwrap())
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// As Slack answers, which is read.
async fn take(State(messages): State<Messages>, Path(to): Path<String>, body: String) -> &'static str {
    let message = serde_json::from_str(&body).unwrap_or(Value::String(body));
    messages.lock().unwrap().push((to, message));
    "ok"
}
