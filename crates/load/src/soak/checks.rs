//! The soak's book against SQL, as anyone may read it: nothing lost, nothing twice, nothing beyond its quantity.
//!
//! Asked while no call is under way and the ledger has everything. So whatever was told is there, as told or as it may have become since; what was refused is
//! not; and whatever is there was asked for.

use super::book::{Book, Closed, Fate, OfferBook, Status};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

/// Each counts what must not be, over the offers that stand for `{OF}`. Asked of every season while its buyers have what they took: later all of it is taken back.
const NEVER_TAKEN: &[(&str, &str)] = &[
    (
        "more taken than there is",
        "select count(*) from offers o join (select offer_id, sum(quantity) taken from claims where status in ('held', 'confirmed') and {OF}
         group by offer_id) t on t.offer_id = o.id where t.taken > o.quantity",
    ),
    (
        "a user beyond the limit",
        "select count(*) from (select 1 from claims c join offers o on o.id = c.offer_id where o.per_user_limit is not null
         and c.status in ('held', 'confirmed') and {OF} group by c.offer_id, c.user_id having sum(c.quantity) > max(o.per_user_limit))",
    ),
];

/// Each counts what must not be, over all that the ledger has: what stays to be seen when a season is over.
const NEVER: &[(&str, &str)] = &[
    (
        "a key twice",
        "select count(*) from (select 1 from claims where idempotency_key is not null group by offer_id, user_id, idempotency_key having count(*) > 1)",
    ),
    (
        "a step of a claim's life missing or twice",
        "select count(*) from (select c.version from claims c left join claim_events e on e.claim_id = c.id
         group by c.id having count(e.version) <> c.version or max(e.version) <> c.version)",
    ),
    ("a hold that expired early", "select count(*) from claims where status = 'expired' and hold_expires_at > updated_at"),
];

/// One row of `claims`.
struct Row {
    user: String,
    quantity: u64,
    status: Status,
    version: u64,
    key: Option<String>,
    /// Of the whole row.
    digest: u64,
}

/// What a check looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    pub(super) claims: u64,
    pub(super) keys: u64,
    /// Claims that are confirmed.
    pub(super) confirmed: Vec<String>,
}

/// Which offers are compared, and how far they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    /// All that the book has open.
    Open,
    /// Those of a season that has ended: nothing may be held any more.
    Ended(&'a [String]),
    /// Those that are deleted next: nobody has anything of them. They are closed in the book.
    Deleted(&'a [String]),
}

/// The book against SQL.
pub(super) fn offers(data: &Path, book: &mut Book, which: Which<'_>) -> Result<Looked, String> {
    let offers: Vec<String> = match which {
        Which::Open => book.offers.keys().cloned().collect(),
        Which::Ended(offers) | Which::Deleted(offers) => offers.to_vec(),
    };
    if offers.is_empty() {
        return Ok(Looked::default());
    }
    let of = is_one_of(&offers);
    let mut findings = never(data, NEVER_TAKEN, &of)?;
    let rows = rows(data, &of)?;
    let none = BTreeMap::new();
    let mut looked = Looked::default();
    for offer in &offers {
        let Some(told) = book.offers.get(offer) else { continue };
        let there = rows.get(offer.as_str()).unwrap_or(&none);
        looked.claims += there.len() as u64;
        looked.keys += told.keys.len() as u64;
        compare(offer, told, there, &mut findings);
        let held = there.values().filter(|row| row.status == Status::Held).count();
        if !matches!(which, Which::Open) && held > 0 {
            findings.push(format!("{held} claims of {offer} are held after their deadlines"));
        }
        looked.confirmed.extend(there.iter().filter(|(_, row)| row.status == Status::Confirmed).map(|(id, _)| id.clone()));
    }
    if let Which::Deleted(offers) = which {
        for offer in offers {
            let there = rows.get(offer.as_str()).unwrap_or(&none);
            book.closed.insert(offer.clone(), closed(there));
            book.offers.remove(offer);
        }
    }
    findings.into_iter().for_each(|finding| book.find(finding));
    Ok(looked)
}

fn compare(offer: &str, told: &OfferBook, there: &BTreeMap<String, Row>, findings: &mut Vec<String>) {
    for (id, told) in &told.claims {
        let Some(row) = there.get(id) else {
            findings.push(format!("{id} of {offer} was told and is not in SQL: {told:?}"));
            continue;
        };
        let as_told = row.version > told.version || (row.version == told.version && row.status == told.status);
        if !as_told || !told.status.may_become(row.status) || (&row.user, row.quantity) != (&told.user, told.quantity) {
            findings.push(format!("{id} of {offer} was told as {told:?} and is {:?} {} of {} in SQL", row.status, row.version, row.user));
        }
    }
    let mut by_key: HashMap<&str, &str> = HashMap::new();
    for (id, row) in there {
        // Without a key it was granted, or served from standby: nobody need have heard of it yet.
        if let Some(key) = &row.key {
            match told.keys.get(key) {
                Some(Fate::Told(told)) if told == id => {}
                // Its answer was lost, and nobody has asked again yet.
                Some(Fate::Open) => {}
                fate => findings.push(format!("{id} of {offer} is in SQL under {key}, of which was told {fate:?}")),
            }
        }
        if let Some(other) = row.key.as_deref().and_then(|key| by_key.insert(key, id)) {
            findings.push(format!("{id} and {other} of {offer} have the same key"));
        }
    }
}

/// What must never be, and offers that were deleted: as they were.
pub(super) fn everything(data: &Path, book: &mut Book) -> Result<Looked, String> {
    let mut findings = never(data, NEVER_TAKEN, ALL)?;
    findings.extend(never(data, NEVER, ALL)?);
    let rows = rows(data, ALL)?;
    let none = BTreeMap::new();
    for (offer, before) in &book.closed {
        let now = closed(rows.get(offer.as_str()).unwrap_or(&none));
        if now != *before {
            findings.push(format!("{offer} had {before:?} when it was deleted and has {now:?} now"));
        }
    }
    findings.into_iter().for_each(|finding| book.find(finding));
    Ok(Looked { claims: rows.values().map(|rows| rows.len() as u64).sum(), ..Looked::default() })
}

/// Units that are taken, and claims, by status, of all there is.
pub(super) fn totals(data: &Path) -> Result<Vec<(String, u64, u64)>, String> {
    let text = sql(data, "select status, count(*), sum(quantity) from claims group by status order by status")?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut parts = line.split('|');
            Some((parts.next()?.to_string(), parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
        .collect())
}

fn closed(rows: &BTreeMap<String, Row>) -> Closed {
    Closed { claims: rows.len() as u64, digest: rows.values().fold(0, |sum, row| sum ^ row.digest) }
}

/// What was counted that must not be, of the offers that `of` chooses.
fn never(data: &Path, statements: &[(&str, &str)], of: &str) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for (what, statement) in statements {
        let count = sql(data, &statement.replace("{OF}", of))?;
        if count.trim() != "0" {
            findings.push(format!("SQL has {what}: {}", count.trim()));
        }
    }
    Ok(findings)
}

/// Chooses all offers.
const ALL: &str = "true";

/// Chooses these offers.
fn is_one_of(offers: &[String]) -> String {
    let names: Vec<String> = offers.iter().map(|offer| format!("'{offer}'")).collect();
    format!("offer_id in ({})", names.join(","))
}

fn rows(data: &Path, of: &str) -> Result<HashMap<String, BTreeMap<String, Row>>, String> {
    let select = format!("select offer_id, id, user_id, quantity, status, version, coalesce(idempotency_key, '') from claims where {of}");
    let text = sql(data, &select)?;
    let mut rows: HashMap<String, BTreeMap<String, Row>> = HashMap::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split('|').collect();
        let row = row(line, &parts).ok_or_else(|| format!("a row of claims cannot be read: {line}"))?;
        let offer = parts[0];
        if !rows.contains_key(offer) {
            rows.insert(offer.into(), BTreeMap::new());
        }
        if let Some(of_offer) = rows.get_mut(offer)
            && of_offer.insert(parts[1].into(), row).is_some()
        {
            return Err(format!("{} is in SQL twice", parts[1]));
        }
    }
    Ok(rows)
}

fn row(line: &str, parts: &[&str]) -> Option<Row> {
    let [_, _, user, quantity, status, version, key] = parts else { return None };
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    Some(Row {
        user: (*user).into(),
        quantity: quantity.parse().ok()?,
        status: Status::read(status)?,
        version: version.parse().ok()?,
        key: Some((*key).to_string()).filter(|key| !key.is_empty()),
        digest: hasher.finish(),
    })
}

fn sql(data: &Path, statement: &str) -> Result<String, String> {
    let output = Command::new("sqlite3")
        .args(["-readonly", "-cmd", ".timeout 30000"])
        .arg(data.join("ledger.db"))
        .arg(statement)
        .output()
        .map_err(|error| format!("sqlite3 cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("sqlite3: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| "sqlite3 wrote what is no text".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::book::Told;

    fn told() -> OfferBook {
        let told = |version, status| Told { user: "u".into(), quantity: 1, version, status };
        OfferBook {
            claims: [("a".into(), told(1, Status::Held)), ("b".into(), told(2, Status::Confirmed))].into(),
            keys: [
                ("ka".into(), Fate::Told("a".into())),
                ("kb".into(), Fate::Told("b".into())),
                ("ko".into(), Fate::Open),
                ("kr".into(), Fate::Refused),
            ]
            .into(),
        }
    }

    /// A ledger as far as a check reads it: a season with two units, one for each, of which these claims were made.
    fn ledger(claims: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let mut made = "create table offers (id, quantity, per_user_limit);
            create table claims (offer_id, id, user_id, quantity, status, version, idempotency_key, hold_expires_at, updated_at);
            create table claim_events (claim_id, version);
            insert into offers values ('s0', 2, 1), ('s1', 2, 1);"
            .to_owned();
        for (id, user, status) in claims {
            made += &format!("insert into claims values ('s0', '{id}', '{user}', 1, '{status}', 1, null, null, '');");
            made += &format!("insert into claim_events values ('{id}', 1);");
        }
        let done = Command::new("sqlite3").arg(folder.path().join("ledger.db")).arg(made).status().expect("sqlite3");
        assert!(done.success());
        folder
    }

    #[test]
    fn a_season_with_too_much_taken_is_found_while_it_has_it() {
        let check = |claims: &[(&str, &str, &str)], wanted: &[&str]| {
            let folder = ledger(claims);
            let season = ["s0".to_owned(), "s1".to_owned()];
            let open = || Book { offers: season.iter().map(|offer| (offer.clone(), OfferBook::default())).collect(), ..Book::default() };
            for (which, wanted) in [(Which::Open, wanted), (Which::Ended(&season), wanted), (Which::Ended(&season[1..]), &[])] {
                let mut book = open();
                offers(folder.path(), &mut book, which).expect("a ledger");
                assert_eq!(book.findings, wanted, "{which:?} of {claims:?}");
            }
            let mut book = open();
            everything(folder.path(), &mut book).expect("a ledger");
            assert_eq!(book.findings, wanted, "all of {claims:?}");
        };
        let (one, two) = (("a", "u", "confirmed"), ("b", "v", "confirmed"));
        check(&[one, two], &[]);
        check(&[one, two, ("c", "w", "confirmed")], &["SQL has more taken than there is: 1"]);
        check(&[one, ("c", "u", "confirmed")], &["SQL has a user beyond the limit: 1"]);
        // When all of it is taken back nothing tells any more.
        check(&[("a", "u", "returned"), ("b", "u", "returned"), ("c", "w", "returned")], &[]);
    }

    #[test]
    fn what_sql_must_not_have_is_found() {
        let check = |rows: &[&str], wanted: usize| {
            let rows = rows.iter().map(|line| {
                let parts: Vec<&str> = line.split('|').collect();
                (parts[1].to_string(), row(line, &parts).expect("a row"))
            });
            let mut findings = Vec::new();
            compare("o", &told(), &rows.collect(), &mut findings);
            assert_eq!(findings.len(), wanted, "{findings:?}");
        };
        let (a, b) = ("o|a|u|1|held|1|ka", "o|b|u|1|confirmed|2|kb");
        check(&[a, b], 0);
        check(&["o|a|u|1|expired|2|ka", "o|b|u|1|returned|3|kb", "o|c|v|1|held|1|ko", "o|d|v|1|confirmed|1|"], 0);
        // Lost.
        check(&[a], 1);
        // Not as told.
        check(&[a, "o|b|u|1|held|1|kb"], 1);
        check(&[a, "o|b|u|1|released|3|kb"], 1);
        check(&[a, "o|b|v|1|confirmed|2|kb"], 1);
        check(&[a, "o|b|u|2|confirmed|2|kb"], 1);
        // Refused, never asked for, twice.
        check(&[a, b, "o|c|u|1|held|1|kr"], 1);
        check(&[a, b, "o|c|u|1|held|1|kx"], 1);
        check(&[a, b, "o|c|u|1|held|1|ka"], 2);
    }
}
