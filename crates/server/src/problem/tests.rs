use super::*;
use bunho_domain::ids::ClaimId;
use bunho_domain::time::Millis;
use bunho_journal::JournalError;
use std::collections::BTreeSet;

fn body(problem: &Problem) -> Value {
    serde_json::from_slice(&problem.render("r-1")).expect("a problem is JSON")
}

fn check(problem: Problem, status: u16, code: &str, extra: Value) {
    let body = body(&problem);
    assert_eq!((body["status"].as_u64(), body["code"].as_str()), (Some(status.into()), Some(code)), "{body}");
    assert_eq!(body["request_id"], "r-1");
    for (name, value) in extra.as_object().into_iter().flatten() {
        assert_eq!(&body[name], value, "{code}.{name}");
    }
    let response = problem.into_response();
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers().contains_key(RETRY_AFTER), matches!(status, 429 | 503), "{code}");
    assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), status == 401, "{code}");
}

#[test]
fn every_engine_error_has_its_answer() {
    // A new variant does not compile here until it stands in the list below.
    let listed = |error: &EngineError| match error {
        EngineError::UnknownOffer
        | EngineError::UnknownZone
        | EngineError::TicketInvalid
        | EngineError::TicketGone
        | EngineError::TooFast { .. }
        | EngineError::Overloaded
        | EngineError::Indeterminate(_)
        | EngineError::Suspended
        | EngineError::Unavailable(_)
        | EngineError::Poisoned
        | EngineError::LedgerBehind
        | EngineError::Conflict { .. }
        | EngineError::Reference { .. }
        | EngineError::InUse(_) => (),
    };
    let reference = json!({"errors": [{"field": "zone", "reason": "must exist"}]});
    for (error, status, code, extra) in [
        (EngineError::UnknownOffer, 404, "unknown_offer", json!({})),
        (EngineError::UnknownZone, 404, "unknown_zone", json!({})),
        (EngineError::TicketInvalid, 401, "ticket_invalid", json!({})),
        (EngineError::TicketGone, 410, "ticket_gone", json!({})),
        (EngineError::TooFast { retry_ms: 1_001 }, 429, "too_fast", json!({})),
        (EngineError::Overloaded, 503, "overloaded", json!({})),
        (EngineError::Indeterminate(JournalError::Poisoned.into()), 503, "indeterminate", json!({})),
        (EngineError::Suspended, 503, "suspended", json!({})),
        (EngineError::Unavailable("no answer".into()), 503, "recovering", json!({})),
        (EngineError::Poisoned, 503, "suspended", json!({})),
        (EngineError::LedgerBehind, 503, "indeterminate", json!({})),
        (EngineError::Conflict { current: 7 }, 412, "revision_conflict", json!({"revision": 7})),
        (EngineError::Reference { field: "zone", reason: "must exist" }, 400, "invalid_request", reference),
        (EngineError::InUse("x"), 409, "in_use", json!({})),
    ] {
        listed(&error);
        check(error.into(), status, code, extra);
    }
}

#[test]
fn every_refusal_has_its_answer() {
    let listed = |refusal: &Refusal| match refusal {
        Refusal::NotOpen { .. }
        | Refusal::Closed
        | Refusal::PassRequired
        | Refusal::PassInvalid
        | Refusal::PassUsed
        | Refusal::Forbidden
        | Refusal::LimitReached { .. }
        | Refusal::QuantityInvalid { .. }
        | Refusal::SoldOut { .. }
        | Refusal::KeyReused
        | Refusal::NotHeld { .. }
        | Refusal::DeadlinePassed
        | Refusal::UnknownClaim
        | Refusal::UnknownStandby
        | Refusal::NoStandby
        | Refusal::QuantityTaken { .. }
        | Refusal::InUse => (),
    };
    let claim = ClaimId::new(1, 2, 3);
    let sold_out = Refusal::SoldOut { standby_possible: true, held: 3, remaining: 1 };
    for (refusal, status, code, extra) in [
        (Refusal::NotOpen { opens_at: Millis(0) }, 409, "not_open", json!({"opens_at": "1970-01-01T00:00:00.000Z"})),
        (Refusal::Closed, 409, "closed", json!({})),
        (Refusal::PassRequired, 403, "pass_required", json!({})),
        (Refusal::PassInvalid, 403, "pass_invalid", json!({})),
        (Refusal::PassUsed, 403, "pass_used", json!({})),
        (Refusal::Forbidden, 403, "forbidden", json!({})),
        (Refusal::LimitReached { claims: vec![claim] }, 409, "limit_reached", json!({"claims": [claim.to_string()]})),
        (Refusal::QuantityInvalid { min: 1, max: 4 }, 400, "quantity_invalid", json!({"min": 1, "max": 4})),
        (sold_out, 409, "sold_out", json!({"standby_possible": true, "held": 3, "remaining": 1})),
        (Refusal::KeyReused, 422, "key_reused", json!({})),
        (Refusal::NotHeld { status: Status::Expired }, 409, "not_held", json!({"claim_status": "expired"})),
        (Refusal::DeadlinePassed, 409, "deadline_passed", json!({})),
        (Refusal::UnknownClaim, 404, "unknown_claim", json!({})),
        (Refusal::UnknownStandby, 404, "unknown_standby", json!({})),
        (Refusal::NoStandby, 409, "no_standby", json!({})),
        (Refusal::QuantityTaken { taken: 9 }, 409, "quantity_taken", json!({"taken": 9})),
        (Refusal::InUse, 409, "in_use", json!({})),
    ] {
        listed(&refusal);
        assert_eq!(bunho_engine::Refusals::code(&refusal), code, "as it is counted");
        check(refusal.into(), status, code, extra);
    }
}

#[test]
fn every_kind_of_the_edge_has_its_answer() {
    let mut codes = BTreeSet::new();
    for kind in KINDS {
        assert!(codes.insert(kind.code), "{} stands twice", kind.code);
        assert!(StatusCode::from_u16(kind.status).is_ok_and(|status| status.is_client_error() || status.is_server_error()));
        // 429 always says when to come back; which is known only where it arises.
        let problem = if kind.status == 429 { Problem::new(kind).retry_after(2) } else { Problem::new(kind) };
        check(problem, kind.status, kind.code, json!({}));
    }
}

#[test]
fn a_ledger_that_is_out_is_no_fault_of_ours() {
    let garbage = || LedgerError::Unreadable { table: "admins", column: "role", value: "?".into() };
    for (error, read, written) in
        [(LedgerError::Busy, (503, "recovering"), (503, "recovering")), (LedgerError::Silent, (503, "recovering"), (503, "indeterminate"))]
    {
        check(Problem::unwritten(&error), written.0, written.1, json!({}));
        check(error.into(), read.0, read.1, json!({}));
    }
    check(Problem::unwritten(&garbage()), 500, "internal", json!({}));
    check(garbage().into(), 500, "internal", json!({}));
}

#[test]
fn a_failure_shows_nothing_of_its_source() {
    let error = EngineError::Indeterminate(JournalError::Poisoned.into());
    let text = String::from_utf8(Problem::internal(&error).render("r")).expect("UTF-8");
    assert!(!text.contains("journal"), "{text}");
    assert!(chain(&error).contains("journal"), "the log has the whole chain");
}
