//! How fast the projector drains a journal, beside the same rows inserted raw; then how fast they load again.
//!
//! `cargo run --release -p bunho-ledger --example drain_rate -- [claims]`. A figure to compare, not a test.

use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, UserId};
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::time::Millis;
use bunho_journal::Journal;
use bunho_ledger::{Ledger, Projector};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use std::path::Path;
use std::time::Instant;

const START: Millis = Millis(1_767_225_600_000);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let claims: u32 = std::env::args().nth(1).map_or(Ok(400_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let journal = Journal::open(&dir.path().join("journal"))?;
    let began = Instant::now();
    fill(&journal, claims)?;
    println!("journal: {claims} claims in {:.2} s", began.elapsed().as_secs_f64());

    let ledger = Ledger::open(&dir.path().join("ledger.db")).await?;
    let projector = Projector::new(ledger.clone(), journal.clone());
    let began = Instant::now();
    let mut projected = ledger.projected();
    let target = journal.durable();
    projector.run(async { drop(projected.wait_for(|&offset| offset >= target).await) }).await;
    report("projector", claims, began);

    for name in ["load, cold", "load, warm"] {
        let mut events = 0_u64;
        let began = Instant::now();
        ledger.load(&mut |_| events += 1).await?;
        println!("{name}: {events} events in {:.2} s", began.elapsed().as_secs_f64());
    }
    ledger.close().await;
    raw(dir.path(), claims).await
}

/// The limit beside it: the same rows from one file into another with the same schema, inside SQLite, in transactions
/// of as many records as the projector's, with the same durability.
async fn raw(dir: &Path, claims: u32) -> Result<(), Box<dyn std::error::Error>> {
    let path = dir.join("raw.db");
    Ledger::open(&path).await?.close().await;
    let options = SqliteConnectOptions::new().filename(&path).pragma("synchronous", "FULL").pragma("cache_size", "-65536");
    let mut connection = SqliteConnection::connect_with(&options.pragma("wal_autocheckpoint", "8192")).await?;
    sqlx::query("ATTACH ? AS source").bind(dir.join("ledger.db").display().to_string()).execute(&mut connection).await?;
    let began = Instant::now();
    for first in (0..claims).step_by(20_000) {
        let (from, to) = (ClaimId::new(1, first, 0).to_string(), ClaimId::new(1, first + 20_000, 0).to_string());
        let mut transaction = connection.begin().await?;
        for statement in [
            "INSERT INTO main.claims SELECT * FROM source.claims WHERE id >= ? AND id < ? ORDER BY id",
            "INSERT INTO main.claim_events SELECT * FROM source.claim_events WHERE claim_id >= ? AND claim_id < ?",
        ] {
            sqlx::query(statement).bind(&from).bind(&to).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    report("raw insert", claims, began);
    Ok(())
}

/// Rows are counted as the tables have them: one of `claims` and one of `claim_events` for each.
fn report(name: &str, claims: u32, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{name}: {claims} claims in {seconds:.2} s, {:.0} rows/s", f64::from(claims) * 2.0 / seconds);
}

fn fill(journal: &Journal, claims: u32) -> Result<(), Box<dyn std::error::Error>> {
    let settings = OfferSettings::new(OfferId::parse("summer-coupon")?, AppId::parse("default")?, Kind::Coupon, claims);
    let defined = OfferEvent { offer: 1, version: 1, change: OfferChange::Defined(Box::new(settings)) };
    let mut last = journal.append(START, &[Event::Offer(defined)], None);
    for seq in 0..claims {
        let claim = claim(seq)?;
        let event = OfferEvent { offer: 1, version: u64::from(seq) + 2, change: OfferChange::Claim(Box::new(claim)) };
        last = journal.append(START, &[Event::Offer(event)], None);
    }
    drop(last);
    while journal.durable() < journal.last() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

fn claim(seq: u32) -> Result<Claim, Box<dyn std::error::Error>> {
    // Users in random order, as in life: a multiplication by an odd number spreads them.
    let spread = u64::from(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = START.plus_ms(i64::from(seq / 100));
    Ok(Claim {
        id: ClaimId::new(1, seq, spread >> 6),
        user: UserId::parse(&format!("user-{spread:016x}"))?,
        quantity: 1,
        status: Status::Confirmed,
        version: 1,
        key: Some(IdempotencyKey::parse(&format!("key-{spread:016x}"))?),
        attributes: None,
        created_at: at,
        updated_at: at,
        hold_expires_at: None,
        ordinal: Some(1),
        granted: None,
    })
}
