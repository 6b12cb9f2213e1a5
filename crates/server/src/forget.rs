//! Forgetting people, in every store that this program writes: what was taken stays taken, by nobody.
//!
//! The order is what makes it safe to be cut off anywhere and repeated. First the engine gives every claim and every place of the person a
//! pseudonym, which is an event like any other, so journal, other nodes and ledger follow; it refuses where the person could still take
//! units a second time. Then what only the ledger has. Then what these writes left behind in files. At the end it is looked again, and what
//! is still found is said with its reason: the report is made of what is there, not of what was done.

use crate::app::Record;
use crate::http::time::Rfc3339;
use crate::machine;
use bunho_domain::ids::{ClaimId, StandbyId, UserId};
use bunho_domain::limits::FORGET_MOST;
use bunho_domain::offer::{Actor, ForgetRequest, OfferState};
use bunho_domain::time::Millis;
use bunho_engine::{Engine, EngineError};
use bunho_journal::kafka::Retention;
use bunho_journal::{Audit, Journal, JournalError, crash_point};
use bunho_ledger::{AuditFilter, AuditRow, Ledger, LedgerError, PersonRows};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use utoipa::ToSchema;

/// People that one call forgets at most. Each costs a look at every claim of the offers concerned, and all together one new writing of a SQLite file.
pub const USERS_MAX: usize = 1_000;

/// How often, and how far apart, it is tried to trim the journal behind what was forgotten: a batch of records that others write at this moment goes
/// when the ledger has all of it.
const TRIMS_MAX: u32 = 100;
const TRIM_WAIT: Duration = Duration::from_millis(100);

/// What this forgets, and where.
pub struct Stores<'a> {
    /// Live state.
    pub engine: &'a Engine,
    /// SQL.
    pub ledger: &'a Ledger,
    /// What was decided.
    pub record: &'a Record,
    /// How long a topic keeps messages, where there is one.
    pub retention: Option<Retention>,
}

/// What became of it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Forgotten {
    /// Nothing is left of these people in what this program keeps.
    pub complete: bool,
    /// How many were asked for.
    users: usize,
    /// Claims that are a pseudonym's now.
    claims: u64,
    /// Places on standby that are.
    standby: u64,
    /// Entries of the audit log out of which a name was taken.
    audit_entries: u64,
    /// Mended parked events that were deleted, and those that could not be read and were done with.
    parked_events: u64,
    /// Messages to webhooks that had been given up, and were deleted.
    webhook_messages: u64,
    /// What is left, why, and what to do about it.
    remains: Vec<Remains>,
    /// What this program cannot reach.
    elsewhere: &'static [&'static str],
}

/// Something of a person that is left.
#[derive(Debug, Serialize, ToSchema)]
pub struct Remains {
    /// `offer`, `parked_events`, `webhook_messages`, `journal`, `ledger_file` or `topic`.
    pub(crate) store: &'static str,
    /// Which offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    offer: Option<String>,
    /// Which of the people asked for, counted from 1; absent: it is about all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<usize>,
    /// How many claims and places, events or messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    /// Why.
    pub(crate) why: &'static str,
    /// Until when, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Rfc3339>,
    /// What to do.
    mend: &'static str,
}

const ELSEWHERE: &[&str] = &[
    "backups and dumps made before now: let them expire, and forget again after restoring one",
    "logs and accounts of proxies and of your own service",
    "webhook receivers and other readers of the topic or the tables",
];
const ELSEWHERE_DATABASE: &[&str] = &[
    ELSEWHERE[0],
    ELSEWHERE[1],
    ELSEWHERE[2],
    "old row versions and logs of the database (PostgreSQL: VACUUM, WAL archive; MySQL and MariaDB: purge, binary log), which it clears in its own time",
];

/// Why it could not be done. Whatever was done stays done; it can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The engine could not decide, or the ledger did not follow it.
    #[error("the engine could not forget")]
    Engine(#[from] EngineError),
    /// The ledger could not be read or written.
    #[error("the ledger could not forget")]
    Ledger(#[from] LedgerError),
    /// The journal could not be trimmed.
    #[error("the journal could not be trimmed")]
    Journal(#[from] JournalError),
    /// No pseudonym could be drawn, or a thread ended.
    #[error("{0}")]
    Inside(String),
}

/// Forgets people; `audit` makes the entry of the audit log, which does not name them.
///
/// # Errors
/// [`ForgetError`]; it can be repeated.
pub async fn forget(stores: &Stores<'_>, users: &[UserId], audit: impl Fn(Value) -> Audit) -> Result<Forgotten, ForgetError> {
    let Stores { engine, ledger, .. } = *stores;
    engine.ledger_caught_up().await?;
    let mut report = Forgotten { users: users.len(), elsewhere: ELSEWHERE, ..Forgotten::default() };
    if ledger.path().is_none() {
        report.elsewhere = ELSEWHERE_DATABASE;
    }
    let mut known = Vec::with_capacity(users.len());
    for user in users {
        known.push(by_offer(ledger.person(user).await?));
    }
    // Noted before it is done: a run that is cut off leaves nothing else that says when these people were known for the last time.
    let found: usize = known.iter().flat_map(BTreeMap::values).map(OfOffer::count).sum();
    if found > 0 {
        ledger.append_audit(now(), &audit(json!({"users": report.users, "found": found}))).await?;
    }
    crash_point!("forget::begun");
    for (user, known) in users.iter().zip(known) {
        for (number, of_offer) in known {
            let (claims, places) = forget_in(stores, user, number, &of_offer).await?;
            report.claims += claims;
            report.standby += places;
        }
    }
    crash_point!("forget::decided");
    engine.ledger_caught_up().await?;
    for user in users {
        let notes = ledger.forget_notes(user).await?;
        report.audit_entries += notes.audit_entries;
        report.parked_events += notes.parked_events;
        report.webhook_messages += notes.messages;
    }
    crash_point!("forget::noted");
    let detail = json!({"users": report.users, "claims": report.claims, "standby": report.standby});
    // Its commit syncs the ledger, and with it what the journal is trimmed behind.
    ledger.append_audit(now(), &audit(detail)).await?;
    crash_point!("forget::audited");
    for (at, user) in (1..).zip(users) {
        look_again(stores, at, ledger.person(user).await?, &mut report).await?;
    }
    let unreadable = ledger.unreadable_events().await?;
    if unreadable > 0 {
        let why = "records of the topic that could not be read are kept as they came, and may name anybody";
        let mend = "look at the rows of parked_events with the reason `unreadable`, set resolved_at of those that are done with, then forget again";
        let count = usize::try_from(unreadable).ok();
        report.remains.push(Remains { store: "parked_events", offer: None, user: None, count, why, until: None, mend });
    }
    report.remains.extend(wipe(stores, forgotten_at(ledger).await?).await?);
    report.complete = report.remains.is_empty();
    Ok(report)
}

/// What is known of a person in one offer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OfOffer {
    pub(crate) claims: Vec<ClaimId>,
    pub(crate) places: Vec<StandbyId>,
}

impl OfOffer {
    fn count(&self) -> usize {
        self.claims.len() + self.places.len()
    }
}

fn now() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}

pub(crate) fn by_offer(rows: PersonRows) -> BTreeMap<u32, OfOffer> {
    let mut offers: BTreeMap<u32, OfOffer> = BTreeMap::new();
    for (id, _) in rows.claims {
        offers.entry(id.offer_number()).or_default().claims.push(id);
    }
    for id in rows.places {
        offers.entry(id.offer_number()).or_default().places.push(id);
    }
    offers
}

/// Forgets a person in one offer, where that can be done now: how many claims and places on standby. Another pseudonym in each, so that what one person did
/// in two offers is not put together by it.
pub(crate) async fn forget_in(stores: &Stores<'_>, user: &UserId, number: u32, known: &OfOffer) -> Result<(u64, u64), ForgetError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| ForgetError::Inside(format!("the system gives no randomness: {error}")))?;
    let pseudonym = UserId::pseudonym(u128::from_be_bytes(random));
    match stores.engine.offer_id(number).await {
        Ok(_) => {}
        Err(EngineError::UnknownOffer) => {
            return Ok(stores.ledger.forget_in_deleted_offer(number, user, &pseudonym).await?);
        }
        Err(error) => return Err(error.into()),
    }
    let mut forgotten = (0, 0);
    let (mut claims, mut places) = (&*known.claims, &*known.places);
    while !(claims.is_empty() && places.is_empty()) {
        let (claims_now, claims_later) = claims.split_at(claims.len().min(FORGET_MOST));
        let (places_now, places_later) = places.split_at(places.len().min(FORGET_MOST - claims_now.len()));
        (claims, places) = (claims_later, places_later);
        let last = claims.is_empty() && places.is_empty();
        let request = ForgetRequest { user, pseudonym: &pseudonym, claims: claims_now, places: places_now, last };
        match stores.engine.forget(number, request).await? {
            Ok(done) => {
                forgotten.0 += u64::from(done.claims);
                forgotten.1 += u64::from(done.places);
            }
            // It is found again at the end, and said why.
            Err(_) => return Ok(forgotten),
        }
        crash_point!("forget::part_decided");
    }
    Ok(forgotten)
}

/// What is left, and why.
async fn look_again(stores: &Stores<'_>, user: usize, left: PersonRows, report: &mut Forgotten) -> Result<(), ForgetError> {
    if left.parked > 0 {
        let (why, mend) =
            ("events that the ledger's guard refused name the person", "mend them with `bunho reconcile --repair`, then forget again");
        let count = usize::try_from(left.parked).ok();
        report.remains.push(Remains { store: "parked_events", offer: None, user: Some(user), count, why, until: None, mend });
    }
    if left.messages > 0 {
        let (why, mend) = (
            "messages that name the person wait for a webhook",
            "wait until they are delivered or given up, or turn the webhook off and discard them with `bunho webhook discard ID --pending`, then forget again",
        );
        let count = usize::try_from(left.messages).ok();
        report.remains.push(Remains { store: "webhook_messages", offer: None, user: Some(user), count, why, until: None, mend });
    }
    for (number, known) in by_offer(left) {
        let count = Some(known.count());
        let offer = match stores.engine.offer_id(number).await {
            Ok(offer) => offer,
            // Deleted in between: the next time.
            Err(EngineError::UnknownOffer) => {
                let (why, mend) = ("the offer was deleted meanwhile", "forget again");
                let offer = Some(format!("#{number}"));
                report.remains.push(Remains { store: "offer", offer, user: Some(user), count, why, until: None, mend });
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let (settings, stock) = stores.engine.offer(&offer).await?;
        let (why, until, mend) = if stock.state == OfferState::Closed {
            let until = last_deadline(stores.engine, &known.claims).await?;
            ("a claim in it is held", until, "confirm or release it, or wait for its deadline, then forget again")
        } else {
            let why = "the offer is not closed: the person, unknown by then, could take units a second time";
            (why, settings.closes_at, "wait until it is closed, or close it with `bunho offer close`, then forget again")
        };
        let until = until.map(Rfc3339);
        report.remains.push(Remains { store: "offer", offer: Some(offer.to_string()), user: Some(user), count, why, until, mend });
    }
    Ok(())
}

async fn last_deadline(engine: &Engine, claims: &[ClaimId]) -> Result<Option<Millis>, EngineError> {
    let mut last = None;
    for &id in claims {
        if let Ok(claim) = engine.read_claim(Actor::Service(None), id).await?
            && claim.status == bunho_domain::claim::Status::Held
        {
            last = last.max(claim.hold_expires_at);
        }
    }
    Ok(last)
}

/// Entries of the audit log that are read at a time.
const AUDIT_PAGE: usize = 200;

/// When somebody who had anything was forgotten for the last time: who asks again about one person asks about the same messages.
async fn forgotten_at(ledger: &Ledger) -> Result<Option<Millis>, ForgetError> {
    let filter = AuditFilter { action: Some("user.forget"), ..AuditFilter::default() };
    let (mut next, mut cursor) = (now(), None);
    loop {
        let entries = ledger.audit_log(cursor, filter, AUDIT_PAGE).await?;
        for AuditRow { at, audit, .. } in &entries {
            match said(audit.detail.as_deref()) {
                Said::Forgotten => return Ok(Some(*at)),
                // That run was cut off, or nothing could be forgotten; the one that came next knows that it was over.
                Said::Found => return Ok(Some(next)),
                Said::Nothing => next = *at,
            }
        }
        cursor = entries.last().map(|entry| entry.id);
        if cursor.is_none() {
            return Ok(None);
        }
    }
}

/// What an entry of the audit log says of people who had something.
enum Said {
    Forgotten,
    Found,
    Nothing,
}

fn said(detail: Option<&str>) -> Said {
    let detail: Value = detail.and_then(|detail| serde_json::from_str(detail).ok()).unwrap_or_default();
    let has = |what: &str| detail[what].as_u64().is_some_and(|count| count > 0);
    match () {
        () if has("claims") || has("standby") => Said::Forgotten,
        () if has("found") => Said::Found,
        () => Said::Nothing,
    }
}

/// Bytes that stay free for the journal while files are written anew: a full disk would end the server.
const ROOM_LEFT: u64 = 256 * 1024 * 1024;

/// What cannot be written anew, because the disk that it is on has less free than that needs: of the journal what it says, of the ledger a new file
/// beside the old one and the same through its log.
fn lacks_room(journal: Option<(&Path, u64)>, ledger: Option<&Path>, free: impl Fn(&Path) -> Option<u64>) -> Vec<Remains> {
    let of_ledger = |file: &Path| {
        let size = std::fs::metadata(file).ok()?.len();
        Some((file.parent()?.to_owned(), size.saturating_mul(2)))
    };
    let journal = journal.map(|(folder, bytes)| {
        (
            "journal",
            "the disk has no room to write the journal's files anew, 128 MiB and some for what is claimed meanwhile",
            folder.to_owned(),
            bytes,
        )
    });
    let ledger = ledger.and_then(of_ledger).map(|(folder, bytes)| {
        ("ledger_file", "the disk has no room to write the ledger anew, twice its size and some for the journal", folder, bytes)
    });
    let mut left = Vec::new();
    for (store, why, folder, bytes) in journal.into_iter().chain(ledger) {
        let needed = bytes.saturating_add(ROOM_LEFT);
        if let Some(free) = free(&folder).filter(|free| *free < needed) {
            tracing::warn!(store, needed, free, "the disk has no room to write it anew");
            left.push(Remains { store, offer: None, user: None, count: None, why, until: None, mend: "make room, then forget again" });
        }
    }
    left
}

/// What the writes above left behind: records that the ledger has, old pages of its file, messages of the topic. Done each time, since
/// a run before this one may have been cut off before it. Where a disk has no room, nothing of journal and ledger is begun. `forgotten_at`: when
/// somebody's messages were overtaken for the last time. Says what is left.
pub(crate) async fn wipe(stores: &Stores<'_>, forgotten_at: Option<Millis>) -> Result<Vec<Remains>, ForgetError> {
    // Before the first of them: the journal is on the same disk in most cases, and whoever fills its disk ends the server.
    let erase_room = match stores.record {
        Record::Journal { journal, .. } => journal.erase_room(),
        Record::Kafka { .. } => None,
    };
    let mut left = lacks_room(erase_room, stores.ledger.path(), machine::disk_free_bytes);
    let has_room = left.is_empty();
    let remains = |store, why, until: Option<Millis>, mend| {
        let until = until.map(Rfc3339);
        Remains { store, offer: None, user: None, count: None, why, until, mend }
    };
    match stores.record {
        Record::Journal { journal, .. } => {
            if has_room && !erase_behind(stores.ledger, journal).await? {
                let why = "records of before are stored together with newer ones that are still needed";
                left.push(remains("journal", why, None, "forget again"));
            }
        }
        Record::Kafka { .. } => {
            let until = forgotten_at.map(|at| match stores.retention {
                Some(Retention::AtLeast(kept)) => i64::try_from(kept.as_millis()).ok().map(|ms| at.plus_ms(ms)),
                _ => None,
            });
            let mend = match until {
                Some(Some(_)) => "wait; or set a shorter retention for the topic",
                _ => "set a retention for the topic (kafka.retention_hours, and retention.ms of the topic)",
            };
            if let Some(until) = until
                && until.is_none_or(|until| until > now())
            {
                left.push(remains("topic", "older messages of the topic are kept until its retention is over", until, mend));
            }
        }
    }
    crash_point!("forget::trimmed");
    if has_room && !stores.ledger.wipe().await? {
        left.push(remains(
            "ledger_file",
            "somebody reads the ledger for long, so its write-ahead log could not be emptied",
            None,
            "end that reader, then forget again",
        ));
    }
    crash_point!("forget::wiped");
    Ok(left)
}

/// Takes everything out of the journal that was durable when this was called. False: not all of it could go.
async fn erase_behind(ledger: &Ledger, journal: &Journal) -> Result<bool, ForgetError> {
    let forgotten = journal.durable();
    let mut gone = false;
    for _ in 0..TRIMS_MAX {
        let upto = *ledger.projected().borrow();
        blocking(journal, move |journal| journal.trim(upto)).await?;
        gone = journal.oldest().is_none_or(|oldest| oldest > forgotten);
        if gone {
            break;
        }
        tokio::time::sleep(TRIM_WAIT).await;
    }
    Ok(blocking(journal, Journal::erase_trimmed).await? && gone)
}

async fn blocking<T: Send + 'static>(
    journal: &Journal,
    work: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, ForgetError> {
    let journal = journal.clone();
    let done = tokio::task::spawn_blocking(move || work(&journal)).await;
    done.map_err(|error| ForgetError::Inside(error.to_string()))?.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn files_are_written_anew_only_where_their_disks_have_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("ledger.db");
        std::fs::File::create(&ledger).and_then(|file| file.set_len(100 * MIB)).expect("a file");
        let journal = Path::new("/journal");
        let check = |free_for_journal, free_for_ledger, expected: &[&str]| {
            let free = |disk: &Path| if disk == journal { free_for_journal } else { free_for_ledger };
            let stores: Vec<_> = lacks_room(Some((journal, 128 * MIB)), Some(&ledger), free).iter().map(|left| left.store).collect();
            assert_eq!(stores, expected, "{free_for_journal:?} {free_for_ledger:?}");
        };
        check(Some(384 * MIB), Some(456 * MIB), &[]);
        check(Some(384 * MIB - 1), Some(456 * MIB), &["journal"]);
        check(Some(384 * MIB), Some(456 * MIB - 1), &["ledger_file"]);
        check(Some(0), Some(0), &["journal", "ledger_file"]);
        check(None, None, &[]);
        assert!(lacks_room(None, None, |_| Some(0)).is_empty(), "neither is a file");
    }
}
