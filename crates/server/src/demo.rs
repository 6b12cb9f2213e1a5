//! The demo: sample zones and offers, the small backend of its shop, and a crowd to bring along. Only where the server runs with `--demo`.
//!
//! The shop's backend is a client of the public API like any other shop's, over the same routes in process, with a service key of its own that is made
//! at the start and kept in memory alone. Who visits is known by a cookie; the backend says to the API for whom it asks, and it alone confirms, after a
//! payment. What it does beyond that as an operator (filling the shelf, taking purchases back) goes through the engine and into the audit log.
//!
//! A demo may stand on a public address, so everything in it is bounded: changes a second, the crowd's size and time, and one crowd at a time.

mod api;
mod crowd;
mod desk;
mod housekeeping;
mod pace;
mod person;
mod samples;
mod visitor;

pub use samples::add;

pub(crate) use crowd::{bring as bring_crowd, call_off as call_off_crowd, look as look_at_crowd};
pub(crate) use desk::{be_somebody_else, claim, claims, join_standby, leave_standby, pay, read_claim, read_standby, release};

use crate::app::App;
use crate::auth::keys::{Identity, Role, Who};
use crate::router;
use api::Api;
use bunho_journal::Audit;
use crowd::Crowd;
use housekeeping::Purchases;
use pace::Pace;
use parking_lot::Mutex;
use std::sync::Arc;

/// Changes that all visitors together may make: a few people who click do not come near it, and a script does no harm.
const CHANGES_A_SECOND: u32 = 50;
const CHANGES_AT_ONCE: u32 = 200;

/// The running demo.
pub struct Demo {
    app: Arc<App>,
    api: Api,
    pace: Pace,
    /// The crowd that is here, if one is.
    crowd: Mutex<Option<Arc<Crowd>>>,
    purchases: Purchases,
}

impl Demo {
    /// Opens the shop. Within a runtime, since its housekeeping runs from here on.
    ///
    /// # Errors
    /// The system gives no randomness for the shop's key.
    pub fn open(app: Arc<App>) -> Result<Arc<Self>, getrandom::Error> {
        let key = visitor::random_hex()?;
        app.keys.lend(
            &key,
            Identity {
                who: Who::Key,
                id: "demo".into(),
                role: Role::Service,
                name: "demo shop".into(),
                expires_at: None,
                certificate: None,
            },
        );
        let demo = Arc::new(Self {
            api: Api::new(router::for_demo(app.clone()), &key),
            app,
            pace: Pace::new(CHANGES_A_SECOND, CHANGES_AT_ONCE),
            crowd: Mutex::new(None),
            purchases: Purchases::default(),
        });
        tokio::spawn(housekeeping::run(demo.clone()));
        Ok(demo)
    }

    /// Waits until the crowd, which the server's end sends home, has given back what it has. For before the journal closes.
    pub async fn close(&self) {
        crowd::until_gone(self).await;
    }
}

/// An entry of the audit log for what the demo itself does.
fn audit(action: &str, target: &str) -> Audit {
    Audit { actor: "demo".into(), action: action.into(), target: target.into(), detail: None, request_id: None }
}
