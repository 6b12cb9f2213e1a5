//! What projecting a claim costs, and how fast claims load again: processor time above all, which other work on the
//! machine disturbs less than it does the clock.
//!
//! `cargo run --release -p bunho-ledger --example drain_rate -- [claims] [per second] [versions] [URL]`. Figures to compare, not
//! a test. With the URL of an empty database the ledger is there, and beside it stands what a plain insert of the same rows costs: 500 rows
//! a statement, 20,000 a transaction, into a table with the same columns and indexes. With no rate (or 0) the journal is full before the projector begins; with one it follows, as in a server.
//! With 2 versions each claim is held first and confirmed when a thousand others have come.

use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, UserId};
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::time::Millis;
use bunho_journal::Journal;
use bunho_ledger::{Ledger, Place, Projector};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const START: Millis = Millis(1_767_225_600_000);
/// As the server has it.
const GATHER: Duration = Duration::from_millis(50);
/// Rows of a plain statement, and statements of a plain transaction.
const PLAIN_ROWS: usize = 500;
const PLAIN_STATEMENTS: usize = 40;
/// Records that come between a claim and its second version.
const APART: u32 = 1_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (arguments, url): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|argument| !argument.contains(':'));
    let arguments = arguments.iter().map(|text| text.parse()).collect::<Result<Vec<u32>, _>>()?;
    let argument = |index: usize, otherwise| arguments.get(index).copied().unwrap_or(otherwise);
    let (claims, rate, versions) = (argument(0, 400_000), argument(1, 0), argument(2, 1));
    let dir = tempfile::tempdir()?;
    let journal = Journal::open(&dir.path().join("journal"))?;
    let place = url.first().map_or_else(|| Ok(Place::from(&dir.path().join("ledger.db"))), |url| Place::parse(url))?;
    let ledger = Ledger::open(&place).await?;
    let projector = Projector::gathering(ledger.clone(), journal.clone(), if rate == 0 { Duration::ZERO } else { GATHER });

    let filling = {
        let journal = journal.clone();
        std::thread::Builder::new().name("fill".to_owned()).spawn(move || fill(&journal, claims, rate, versions))?
    };
    let (filling, began) = if rate == 0 { (joined(filling)?, Instant::now()) } else { (Some(filling), Instant::now()) };
    let before = processor_seconds()?;
    let target = u64::from(claims) * u64::from(versions) + 1;
    let mut projected = ledger.projected();
    projector.run(async { drop(projected.wait_for(|&offset| offset >= target).await) }).await;
    let seconds = began.elapsed().as_secs_f64();
    println!("projector: {claims} claims of {versions} version(s) in {seconds:.2} s, {:.0} events/s", target as f64 / seconds);
    let mut sum = 0.0;
    for (name, after) in processor_seconds()? {
        let spent = after - before.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, seconds)| *seconds);
        // Of these the first is the example's own work, and the second the journal's.
        if name != "fill" && name != "journal" {
            sum += spent;
        }
        println!("  {name}: {:.2} us of processor time an event", spent * 1e6 / target as f64);
    }
    println!("  projecting: {:.2} us of processor time an event", sum * 1e6 / target as f64);
    drop(filling);

    for name in ["load, cold", "load, warm"] {
        let mut events = 0_u64;
        let (began, before) = (Instant::now(), processor_seconds()?);
        ledger.load(&mut |_| events += 1).await?;
        let total = |all: &[(String, f64)]| all.iter().map(|(_, seconds)| seconds).sum::<f64>();
        let spent = total(&processor_seconds()?) - total(&before);
        println!("{name}: {events} events in {:.2} s, {spent:.2} s of processor time", began.elapsed().as_secs_f64());
    }
    if let Some(path) = ledger.path() {
        println!("file: {} bytes a claim", std::fs::metadata(path)?.len() / u64::from(claims.max(1)));
    }
    match &place {
        Place::Sqlite(_) => {}
        Place::Postgres(url) => {
            let mut connection = PgConnection::connect(url.as_str()).await?;
            connection.execute("CREATE TABLE plain_rows (LIKE claim_rows INCLUDING ALL)").await?;
            plain(&mut connection, claims).await?;
        }
        Place::MySql(url) => {
            let mut connection = MySqlConnection::connect(url.as_str()).await?;
            connection.execute("CREATE TABLE plain_rows LIKE claim_rows").await?;
            plain(&mut connection, claims).await?;
        }
    }
    ledger.close().await;
    Ok(())
}

/// The same rows without a projector.
async fn plain<'c, C>(connection: &'c mut C, claims: u32) -> Result<(), Failure>
where
    for<'a> &'a mut C: Executor<'a>,
{
    let mut statements = Vec::new();
    for first in (0..claims).step_by(PLAIN_ROWS) {
        let rows = (first..claims.min(first + PLAIN_ROWS as u32)).map(plain_row).collect::<Result<Vec<_>, _>>()?.join(",");
        statements.push(format!(
            "INSERT INTO plain_rows (place, id, user_id, quantity, status, version, idempotency_key, attributes, created_ms, hold_expires_ms, \
             updated_ms, ordinal, granted, event, journal_offset) VALUES {rows}"
        ));
    }
    let began = Instant::now();
    for statements in statements.chunks(PLAIN_STATEMENTS) {
        connection.execute(sqlx::raw_sql("BEGIN")).await?;
        for statement in statements {
            connection.execute(sqlx::raw_sql(AssertSqlSafe(statement.clone()))).await?;
        }
        connection.execute(sqlx::raw_sql("COMMIT")).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("plain insert: {claims} rows in {seconds:.2} s, {:.0} rows/s", f64::from(claims) / seconds);
    Ok(())
}

fn plain_row(seq: u32) -> Result<String, Failure> {
    let claim = claim(seq, 1, Status::Confirmed)?;
    let (place, event) = ((1_u64 << 32) | u64::from(seq), (1_u64 << 35) | (1 << 3) | 2);
    let key = claim.key.as_ref().map(|key| key.as_str().to_owned()).unwrap_or_default();
    Ok(format!(
        "({place},'{}','{}',1,'confirmed',1,'{key}',NULL,{},NULL,{},1,NULL,{event},{})",
        claim.id,
        claim.user.as_str(),
        claim.created_at.0,
        claim.updated_at.0,
        seq + 2
    ))
}

fn joined(filling: std::thread::JoinHandle<Result<(), Failure>>) -> Result<Option<std::thread::JoinHandle<Result<(), Failure>>>, Failure> {
    filling.join().map_err(|_| "filling panicked")??;
    Ok(None)
}

/// Processor seconds of this process, by the names of its threads, as Linux counts them.
fn processor_seconds() -> Result<Vec<(String, f64)>, Failure> {
    let mut seconds: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = std::fs::read_to_string(task.join("comm"))?.trim().to_owned();
        let nanos = std::fs::read_to_string(task.join("schedstat"))?.split(' ').next().map_or(Ok(0), str::parse::<u64>)?;
        *seconds.entry(name).or_default() += nanos as f64 / 1e9;
    }
    Ok(seconds.into_iter().collect())
}

fn fill(journal: &Journal, claims: u32, rate: u32, versions: u32) -> Result<(), Failure> {
    let settings = OfferSettings::new(OfferId::parse("summer-coupon")?, AppId::parse("default")?, Kind::Coupon, claims);
    let defined = OfferEvent { offer: 1, version: 1, change: OfferChange::Defined(Box::new(settings)) };
    drop(journal.append(START, &[Event::Offer(defined)], None));
    let began = Instant::now();
    for turn in 0..claims + if versions > 1 { APART } else { 0 } {
        if turn < claims {
            append(journal, turn, 1, if versions > 1 { Status::Held } else { Status::Confirmed })?;
        }
        if versions > 1 && turn >= APART {
            append(journal, turn - APART, 2, Status::Confirmed)?;
        }
        if rate > 0 && turn % 20 == 0 {
            let due = Duration::from_secs_f64(f64::from(turn) / f64::from(rate));
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    while journal.durable() < journal.last() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn append(journal: &Journal, seq: u32, version: u32, status: Status) -> Result<(), Failure> {
    let claim = claim(seq, version, status)?;
    let event = OfferEvent { offer: 1, version: u64::from(seq) + 2, change: OfferChange::Claim(Box::new(claim)) };
    drop(journal.append(START, &[Event::Offer(event)], None));
    Ok(())
}

fn claim(seq: u32, version: u32, status: Status) -> Result<Claim, Failure> {
    // Users in random order, as in life: a multiplication by an odd number spreads them.
    let spread = u64::from(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = START.plus_ms(i64::from(seq / 100));
    Ok(Claim {
        id: ClaimId::new(1, seq, spread >> 6),
        user: UserId::parse(&format!("user-{spread:016x}"))?,
        quantity: 1,
        status,
        version,
        key: Some(IdempotencyKey::parse(&format!("key-{spread:016x}"))?),
        attributes: None,
        created_at: at,
        updated_at: at,
        hold_expires_at: None,
        ordinal: Some(1),
        granted: None,
    })
}
