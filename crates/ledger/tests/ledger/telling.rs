//! What is to be told by HTTP: written with the rows that it tells of, handed out, settled, given up, shared among nodes and forgotten.

use crate::world::*;
use bunho_domain::claim::{Claim, StandbyStatus, Status};
use bunho_domain::ids::AppId;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::time::Millis;
use bunho_ledger::{Attempted, DeliveryFilter, Outcome, REHEARSAL_APP, Settled, WebhookRow, WebhookState};

fn hook(id: &str, events: &str) -> WebhookRow {
    WebhookRow {
        id: id.into(),
        name: format!("{id} 가게"),
        url: "https://example.com/".into(),
        events: events.into(),
        offer: None,
        app: None,
        secret: "whsec_x".into(),
        previous_secret: None,
        previous_until: None,
        enabled: true,
        disabled_reason: None,
        revision: 1,
        deleted: false,
        created_at: START,
        updated_at: START,
    }
}

impl World {
    async fn add(&self, row: &WebhookRow) {
        assert!(self.ledger.insert_webhook(row, 10, &audit("webhook.new")).await.expect("added"));
    }

    /// Types and subjects of what waits for one, in order.
    async fn waits(&self, id: &str) -> Vec<String> {
        let due = self.ledger.due_deliveries(id, START, 1_000).await.expect("due");
        due.iter().map(|one| format!("{} {}", one.event_type.trim_start_matches("io.bunho."), one.event)).collect()
    }
}

fn settled(seq: i64, outcome: Outcome) -> Settled {
    let error = (outcome != Outcome::Delivered).then(|| "answered 500".to_owned());
    Settled { seq, attempts: 1, attempted: Attempted { at: START, status: Some(500), error }, outcome }
}

async fn what_is_written_is_told_to_whom_it_concerns() {
    let world = World::new().await;
    let first = Claim { key: Some(key("k-1")), attributes: Some(r#"{"a":[1.50,"예"]}"#.into()), ..place(held(1, 0, "김지원"), 1) };
    world.happened([defined(1, 1, goods("summer", 2)), now(2, &first)]).await;
    world.projected().await;
    assert_eq!(world.sql("SELECT count(*) FROM webhook_deliveries").await, ["0"], "nobody is there");

    world.add(&hook("all", "*")).await;
    world.add(&hook("some", "claim.confirmed,offer.sold_out")).await;
    world.add(&WebhookRow { offer: Some("winter".into()), ..hook("winter", "*") }).await;
    world.add(&WebhookRow { app: Some("other".into()), ..hook("other", "*") }).await;
    world.add(&WebhookRow { enabled: false, ..hook("off", "*") }).await;
    let second = place(held(1, 1, "u2"), 1);
    let mut served = standby(1, 0, "u3");
    (served.status, served.version, served.claim) = (StandbyStatus::Served, 2, Some(second.id));
    let confirmed = then(&first, Status::Confirmed);
    world.happened([now(3, &confirmed), now(4, &second), standby_now(5, &standby(1, 0, "u3")), standby_now(6, &served)]).await;
    world.projected().await;
    let told = [
        format!("claim.confirmed {}.2", first.id),
        format!("claim.held {}.1", second.id),
        format!("standby.served {}.2", served.id),
        "offer.sold_out offer-1.6".to_owned(),
    ];
    assert_eq!(world.waits("all").await, told);
    assert_eq!(world.waits("some").await, [told[0].clone(), told[3].clone()]);
    for nobody in ["winter", "other", "off"] {
        assert_eq!(world.waits(nobody).await, Vec::<String>::new(), "{nobody}");
    }
    let due = world.ledger.due_deliveries("all", START, 10).await.expect("due");
    assert_eq!(
        due[0].body,
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}.2\",\"source\":\"/v1/offers/summer\",\"type\":\"io.bunho.claim.confirmed\",\"subject\":\"{id}\",\
             \"time\":\"2026-01-01T00:00:00.010Z\",\"datacontenttype\":\"application/json\",\"data\":{{\"id\":\"{id}\",\"offer\":\"summer\",\
             \"app\":\"shop\",\"user\":\"김지원\",\"quantity\":1,\"status\":\"confirmed\",\"version\":2,\"idempotency_key\":\"k-1\",\
             \"hold_expires_at\":null,\"created_at\":\"2026-01-01T00:00:00.000Z\",\"updated_at\":\"2026-01-01T00:00:00.010Z\",\
             \"attributes\":{{\"a\":[1.50,\"예\"]}},\"granted\":[]}}}}",
            id = first.id
        )
    );
    // A message that comes twice is told once; more of the same offer is not sold out anew.
    world.happened([now(3, &confirmed)]).await;
    world.projected().await;
    assert_eq!(world.waits("all").await, told);
}

async fn a_rehearsal_is_not_told() {
    let world = World::new().await;
    world.add(&hook("all", "*")).await;
    world.add(&WebhookRow { app: Some(REHEARSAL_APP.into()), ..hook("asks", "*") }).await;
    let played = OfferSettings { app: AppId::parse(REHEARSAL_APP).expect("an app"), ..goods("played", 1) };
    let (played_claim, claim) = (place(held(1, 0, "u1"), 1), place(held(2, 0, "u2"), 1));
    world.happened([defined(1, 1, played), now(2, &played_claim), defined(2, 1, goods("real", 9)), now(2, &claim)]).await;
    world.projected().await;
    assert_eq!(world.waits("all").await, [format!("claim.held {}.1", claim.id)]);
    assert_eq!(world.waits("asks").await, Vec::<String>::new());
}

async fn what_a_guard_refuses_is_not_told() {
    let world = World::new().await;
    world.add(&hook("all", "*")).await;
    let (first, second) = (held(1, 0, "u1"), held(1, 1, "u2"));
    world.happened([defined(1, 1, goods("one", 1)), now(2, &first), now(3, &second)]).await;
    assert_eq!(world.projected().await.parked(), 1);
    assert_eq!(world.waits("all").await, [format!("claim.held {}.1", first.id), "offer.sold_out offer-1.3".to_owned()]);
}

async fn attempts_are_settled_together_and_what_was_given_up_stays() {
    let world = World::new().await;
    world.add(&hook("all", "claim.held")).await;
    let claims = (0..1_200).map(|seq| now(u64::from(seq) + 2, &held(1, seq, &format!("u{seq}"))));
    world.happened(std::iter::once(defined(1, 1, goods("many", 10_000))).chain(claims)).await;
    world.projected().await;
    let ledger = &world.ledger;
    let due = ledger.due_deliveries("all", START, 1_000).await.expect("due");
    assert_eq!(due.len(), 1_000);
    assert!(due.windows(2).all(|pair| pair[0].seq < pair[1].seq), "the oldest first");
    let later = START.plus_seconds(60);
    let outcome = |index: usize| match index {
        0..=796 => Outcome::Delivered,
        797..=799 => Outcome::Dead,
        _ => Outcome::Again(later),
    };
    let all: Vec<_> = due.iter().enumerate().take(900).map(|(index, one)| settled(one.seq, outcome(index))).collect();
    ledger.settle_deliveries("all", &all, 3).await.expect("settled");
    assert_eq!(ledger.delivery_counts().await.expect("counts"), [("all".to_owned(), 400, 3)]);
    let state = &ledger.webhook_states().await.expect("states")[0];
    assert_eq!((state.delivered, state.failures, state.last_status), (797, 3, Some(500)));
    assert_eq!(ledger.due_deliveries("all", START, 1_000).await.expect("due").len(), 300, "the rest waits for its time");
    let due = ledger.due_deliveries("all", later, 100).await.expect("due");
    assert_eq!((due.len(), due.iter().filter(|one| one.next_at == later).count()), (100, 50), "half of it new");
    assert_eq!(ledger.hasten_deliveries("all", START.plus_seconds(30)).await.expect("mended"), 100, "put off by a clock that was ahead");

    let dead = ledger.deliveries("all", DeliveryFilter::Dead, None, 2).await.expect("a page");
    assert_eq!((dead.len(), dead[0].attempts, dead[0].last.clone().and_then(|last| last.error)), (2, 1, Some("answered 500".into())));
    let rest = ledger.deliveries("all", DeliveryFilter::Dead, Some(dead[1].seq), 2).await.expect("a page");
    assert_eq!(rest.len(), 1);
    let by = audit("webhook.redeliver");
    assert_eq!(ledger.redeliver("all", Some(dead[0].seq), START, &by).await.expect("again"), 1);
    assert_eq!(ledger.redeliver("all", Some(dead[0].seq), START, &by).await.expect("asked"), 0, "it waits already");
    assert_eq!(ledger.redeliver("other", None, START, &by).await.expect("asked"), 0);
    assert_eq!(ledger.discard("all", Some(dead[1].seq), START, &by).await.expect("gone"), 1);
    assert_eq!(ledger.discard("all", Some(due[0].seq), START, &by).await.expect("asked"), 0, "what waits is not given up");
    assert_eq!(ledger.redeliver("all", None, START, &by).await.expect("again"), 1);
    assert_eq!(ledger.delivery_counts().await.expect("counts"), [("all".to_owned(), 402, 0)]);
    let dead: Vec<_> = due.iter().map(|one| settled(one.seq, Outcome::Dead)).collect();
    ledger.settle_deliveries("all", &dead, 9).await.expect("settled");
    assert_eq!(ledger.trim_dead("all", 60).await.expect("trimmed"), 40);
    assert_eq!(ledger.trim_dead("all", 60).await.expect("trimmed"), 0);
    assert_eq!(ledger.delivery_counts().await.expect("counts"), [("all".to_owned(), 302, 60)]);
}

async fn what_waits_for_one_that_is_off_can_be_discarded() {
    let world = World::new().await;
    let ledger = &world.ledger;
    world.add(&hook("off", "claim.held")).await;
    world.add(&hook("on", "claim.held")).await;
    let claims = (0..20).map(|seq| now(u64::from(seq) + 2, &held(1, seq, &format!("u{seq}"))));
    world.happened(std::iter::once(defined(1, 1, goods("many", 10_000))).chain(claims)).await;
    world.projected().await;
    let due = ledger.due_deliveries("off", START, 2).await.expect("due");
    ledger.settle_deliveries("off", &[settled(due[0].seq, Outcome::Dead)], 1).await.expect("settled");
    let by = audit("webhook.discard");
    let discard = async |seq| ledger.discard_pending("off", seq, START, &by).await.expect("asked");
    assert_eq!(discard(None).await, 0, "it is on, so they are sent");
    assert!(ledger.disable_webhook("off", None, "gone", START, &audit("webhook.disable")).await.expect("off"));
    assert_eq!(ledger.discard("off", None, START, &by).await.expect("gone"), 1, "what was given up");
    assert_eq!((discard(Some(due[0].seq)).await, discard(Some(due[1].seq)).await), (0, 1));
    assert_eq!((discard(None).await, discard(None).await), (18, 0));
    assert_eq!(ledger.delivery_counts().await.expect("counts"), [("on".to_owned(), 20, 0)]);
    assert_eq!(
        world.sql("SELECT count(*) FROM audit_log WHERE action = 'webhook.discard'").await,
        ["3"],
        "once for each that took something"
    );
}

async fn webhooks_are_changed_by_revision_held_by_one_and_forgotten() {
    let world = World::new().await;
    let ledger = &world.ledger;
    world.add(&hook("a", "*")).await;
    assert!(!ledger.insert_webhook(&hook("b", "*"), 1, &audit("webhook.new")).await.expect("asked"), "there is room for one");
    let before = ledger.webhooks().await.expect("a list").remove(0);
    assert_eq!(before, hook("a", "*"));
    let until = Some(Millis(START.0 + 5));
    let changed =
        WebhookRow { previous_secret: Some("whsec_old".into()), previous_until: until, offer: Some("x".into()), ..before.clone() };
    assert!(ledger.change_webhook(&changed, &audit("webhook.put")).await.expect("changed"));
    assert!(!ledger.change_webhook(&changed, &audit("webhook.put")).await.expect("asked"), "it is another by now");
    assert_eq!(ledger.webhooks().await.expect("a list"), [WebhookRow { revision: 2, ..changed }]);
    let elsewhere = Some("https://before.example/");
    assert!(!ledger.disable_webhook("a", elsewhere, "gone", START, &audit("webhook.disable")).await.expect("asked"), "it moved");
    assert!(ledger.disable_webhook("a", Some(&before.url), "gone", START, &audit("webhook.disable")).await.expect("off"));
    assert!(!ledger.disable_webhook("a", None, "gone", START, &audit("webhook.disable")).await.expect("asked"), "once");

    let free = ledger.webhook_states().await.expect("states").remove(0);
    let held = ledger.hold_webhook(&free, "n1").await.expect("asked").expect("held");
    assert_eq!(ledger.hold_webhook(&free, "n2").await.expect("asked"), None, "somebody was faster");
    let own = WebhookState { webhook: "a".into(), holder: "n1".into(), beat: held, ..WebhookState::default() };
    let next = ledger.hold_webhook(&own, "n1").await.expect("asked").expect("it goes on");
    let stale = ledger.webhook_states().await.expect("states").remove(0);
    assert_eq!((stale.holder.as_str(), stale.beat), ("n1", next));
    assert!(ledger.hold_webhook(&stale, "n2").await.expect("asked").is_some(), "taken over");
    assert_eq!(ledger.hold_webhook(&stale, "n1").await.expect("asked"), None, "and lost");
    ledger.let_webhooks_go("n2").await.expect("given up");
    assert_eq!(ledger.webhook_states().await.expect("states")[0].holder, "");

    assert!(ledger.delete_webhook("a", START, &audit("webhook.delete")).await.expect("gone"));
    assert!(!ledger.delete_webhook("a", START, &audit("webhook.delete")).await.expect("asked"));
    let row = ledger.webhooks().await.expect("a list").remove(0);
    assert!(row.deleted && row.secret.is_empty() && row.previous_secret.is_none(), "secrets go at once");
    // What somebody's transaction queued who had seen it before.
    let late = "INSERT INTO webhook_deliveries (webhook, event, event_type, body, at_ms, attempts, next_ms, dead) VALUES ('a', 'e', 't', '{}', 0, 0, 0, 0)";
    world.shell().await.run(late).await;
    assert!(!ledger.sweep_webhook("a", true).await.expect("swept"), "there was something");
    assert!(ledger.sweep_webhook("a", false).await.expect("swept"));
    assert_eq!(ledger.webhooks().await.expect("a list").len(), 1, "the mark stays");
    assert!(ledger.sweep_webhook("a", true).await.expect("swept"));
    assert_eq!(ledger.webhooks().await.expect("a list"), []);
}

crate::backend::on_each!(
    what_is_written_is_told_to_whom_it_concerns,
    a_rehearsal_is_not_told,
    what_a_guard_refuses_is_not_told,
    attempts_are_settled_together_and_what_was_given_up_stays,
    what_waits_for_one_that_is_off_can_be_discarded,
    webhooks_are_changed_by_revision_held_by_one_and_forgotten,
);
