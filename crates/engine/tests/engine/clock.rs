//! A system clock that steps under a running engine, and between two: holds and windows keep their length.

use crate::harness::{Apart, offer_settings};
use bunho_domain::claim::Status;
use bunho_domain::ids::{OfferId, UserId, ZoneId};
use bunho_domain::line::Answer;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::Kind;
use bunho_domain::offer::{Actor, ClaimRequest};

const HOUR_MS: i64 = 3_600_000;
const STEPS: [i64; 6] = [-HOUR_MS, -5_000, -1, 1, 5_000, HOUR_MS];

async fn hold(node: &Apart, user: &UserId) -> bunho_domain::claim::Claim {
    let request = ClaimRequest { user, quantity: 1, key: None, attributes: None, pass: None };
    node.engine.claim(&OfferId::parse("o").unwrap(), request).await.unwrap().unwrap().claim
}
