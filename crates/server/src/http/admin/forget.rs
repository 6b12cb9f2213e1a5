//! Forgetting people. Their names stand in the body and not in the path, which proxies write into their logs.

use super::to_the_end;
use crate::app::App;
use crate::auth::Admin;
use crate::config::Shape;
use crate::forget::{self, ForgetError, Forgotten, Stores, USERS_MAX};
use crate::http::json::{JsonBody, ok};
use crate::problem::{Answered, Problem};
use axum::extract::State;
use bunho_domain::ids::UserId;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Who is to be forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgetBody {
    /// Ids of 1 to 1,000 users.
    users: Vec<String>,
}

/// Forgets people: what they took stays taken, and nobody can tell any more who it was. Again: finds what is left.
#[utoipa::path(post, path = "/admin/api/forget", tag = "admin", request_body = ForgetBody, responses((status = 200, body = Forgotten)))]
pub(crate) async fn forget(State(app): State<Arc<App>>, Admin(admin): Admin, body: JsonBody) -> Answered {
    let ForgetBody { users } = body.parse()?;
    if !(1..=USERS_MAX).contains(&users.len()) {
        return Err(Problem::field("users", format!("must be 1 to {USERS_MAX} users")));
    }
    let parsed = users.iter().map(|user| UserId::parse(user).map_err(|error| Problem::field("users", error.to_string())));
    let users: Vec<UserId> = parsed.collect::<Result<_, _>>()?;
    to_the_end(async move {
        let retention = match &app.config.shape {
            Shape::Embedded => None,
            Shape::Cluster(cluster) => Some(cluster.topic.retention),
        };
        let stores = Stores { engine: &app.engine, ledger: &app.ledger, record: &app.health.record, retention };
        let audit = |detail: serde_json::Value| admin.audit("user.forget", "user", Some(detail.to_string()));
        Ok(ok(&forget::forget(&stores, &users, audit).await?))
    })
    .await
}

impl From<ForgetError> for Problem {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::Engine(error) => error.into(),
            ForgetError::Ledger(error) => Self::unwritten(&error),
            ForgetError::Journal(_) | ForgetError::Inside(_) => Self::internal(&error),
        }
    }
}
