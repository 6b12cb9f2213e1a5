//! What became of units: never oversold, never lost, never twice.
//!
//! A unit is *surely taken* while no honest server could have given it to another: from the answer that gave its claim, for ever if an
//! answer confirmed the claim, and else until just before the hold could have ended. The hold began after its call was sent, so it is
//! taken to be shorter by the slowest claim of the run. A claim that was released, whose fate is unknown, or that is held as far
//! as only a replayed answer tells, may have ended at any time and is left out.

use super::wording::{count, counted, seconds};
use super::{Trial, Verdict};
use crate::record::{Call, Claim, ClaimState, Offer, Record};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Stock is read so long after the run's end at the latest.
const READ_WITHIN_MS: i64 = 10_000;

const NO_OFFER: &str = "nothing was claimed";

pub(super) fn never_oversold(record: &Record) -> Verdict {
    let mut trial = Trial::new("never_oversold", "Never oversold: units given never exceed the quantity");
    let (mut given, mut most, mut quantity) = (0, 0, 0);
    for offer in &record.offers {
        let takings = takings(offer, record);
        given += takings.len() as u64;
        let already = offer.before.map_or(0, |stock| stock.confirmed);
        let limit = offer.quantity.max(offer.before.map_or(0, |stock| stock.quantity));
        let peak = already
            + peak(&takings, limit.saturating_sub(already), |claim, units| {
                trial.case(|| {
                    let (total, at) = (count(units + already), seconds(claim.answered_ms.into()));
                    format!(
                        "offer {}: claim {} of user {} at {at} made it {total} units of {}",
                        offer.id,
                        claim.id,
                        claim.user,
                        count(limit)
                    )
                });
            });
        // Granted claims are confirmed from their beginning, which nobody saw: at the end all are there.
        let sold = already + confirmed(&takings) + granted(offer);
        if sold > limit && peak <= limit {
            trial.case(|| format!("offer {}: {} units confirmed or granted by answers, of {}", offer.id, count(sold), count(limit)));
        }
        most += peak.max(sold);
        quantity += limit;
        stock_adds_up(offer, record, &takings, &mut trial);
    }
    if record.offers.is_empty() {
        return trial.not_judged(NO_OFFER, String::new());
    }
    trial.value("claims_given", given as f64);
    trial.value("units_surely_taken", most as f64);
    trial.value("units_offered", quantity as f64);
    let read = record.offers.iter().filter(|offer| offer.after.is_some()).count() as u64;
    let figures = format!(
        "{} units surely taken at once, {} offered ({}, {} read afterwards).",
        count(most),
        count(quantity),
        counted(given, "claim", "claims"),
        counted(read, "stock", "stocks"),
    );
    trial.judged(figures)
}

/// The offer's own numbers after the run.
fn stock_adds_up(offer: &Offer, record: &Record, takings: &[Taking<'_>], trial: &mut Trial) {
    let Some(after) = offer.after else { return };
    if after.remaining + after.held + after.confirmed != after.quantity {
        let [remaining, held, confirmed, quantity] = [after.remaining, after.held, after.confirmed, after.quantity].map(count);
        trial.case(|| format!("offer {}: {remaining} remaining + {held} held + {confirmed} confirmed are not {quantity}", offer.id));
    }
    let already = offer.before.map_or(0, |stock| stock.confirmed);
    let end = i64::try_from(record.elapsed_ms).unwrap_or(i64::MAX).saturating_add(READ_WITHIN_MS);
    let held: u64 = takings.iter().filter(|t| t.until != i64::MAX && t.until > end).map(|t| u64::from(t.claim.quantity)).sum();
    let confirmed = already + confirmed(takings) + granted(offer);
    let taken = confirmed + held;
    if after.confirmed < confirmed {
        trial.case(|| {
            format!("offer {}: {} confirmed afterwards, answers confirmed {}", offer.id, count(after.confirmed), count(confirmed))
        });
    }
    if after.held + after.confirmed < taken {
        let seen = count(after.held + after.confirmed);
        trial.case(|| {
            format!("offer {}: {seen} held or confirmed afterwards, answers gave {} that cannot have ended", offer.id, count(taken))
        });
    }
}

/// Units that answers confirmed.
fn confirmed(takings: &[Taking<'_>]) -> u64 {
    takings.iter().filter(|t| t.until == i64::MAX).map(|t| u64::from(t.claim.quantity)).sum()
}

/// Units given by confirmations of another offer, one each. They need no confirming of their own.
fn granted(offer: &Offer) -> u64 {
    offer.granted.iter().map(|(_, id)| id).collect::<HashSet<_>>().len() as u64
}

/// A claim, and until when it surely has its units.
struct Taking<'a> {
    claim: &'a Claim,
    /// `i64::MAX`: for ever.
    until: i64,
}

/// Distinct claims that surely had units for a time, by when they were answered.
fn takings<'a>(offer: &'a Offer, record: &Record) -> Vec<Taking<'a>> {
    let slowest_us = record.calls.get(&Call::Claim).map_or(0, |totals| totals.service_us.max());
    let hold_ms = i64::from(offer.hold_ms) - i64::try_from(slowest_us.div_ceil(1_000)).unwrap_or(i64::MAX);
    let mut distinct: HashMap<&str, Taking<'_>> = HashMap::with_capacity(offer.claims.len());
    // Released or unknown in one answer: whatever another one said came before, unless it confirmed.
    let mut ended: HashSet<&str> = HashSet::new();
    for claim in &offer.claims {
        let until = match claim.state {
            ClaimState::Confirmed => i64::MAX,
            ClaimState::Held if claim.replayed => continue,
            ClaimState::Held => i64::from(claim.answered_ms) + hold_ms,
            ClaimState::Released | ClaimState::Unknown => {
                ended.insert(&claim.id);
                continue;
            }
        };
        distinct
            .entry(&claim.id)
            .and_modify(|known| {
                known.until = known.until.max(until);
                if claim.answered_ms < known.claim.answered_ms {
                    known.claim = claim;
                }
            })
            .or_insert(Taking { claim, until });
    }
    let sure = |t: &Taking<'_>| t.until == i64::MAX || (t.until > i64::from(t.claim.answered_ms) && !ended.contains(t.claim.id.as_str()));
    let mut all: Vec<Taking<'a>> = distinct.into_values().filter(sure).collect();
    all.sort_unstable_by(|a, b| (a.claim.answered_ms, &a.claim.id).cmp(&(b.claim.answered_ms, &b.claim.id)));
    all
}

/// Most units taken at the same time. Tells of every claim that made it more than `limit`, and of how many it then was.
fn peak(takings: &[Taking<'_>], limit: u64, mut exceeded: impl FnMut(&Claim, u64)) -> u64 {
    let mut ends: Vec<(i64, u64)> =
        takings.iter().filter(|t| t.until != i64::MAX).map(|t| (t.until, u64::from(t.claim.quantity))).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let (mut now, mut most) = (0, 0);
    for taking in takings {
        while let Some((_, units)) = ends.next_if(|(until, _)| *until <= i64::from(taking.claim.answered_ms)) {
            now -= units;
        }
        now += u64::from(taking.claim.quantity);
        most = most.max(now);
        if now > limit {
            exceeded(taking.claim, now);
        }
    }
    most
}

pub(super) fn never_lost(record: &Record) -> Verdict {
    let mut trial = Trial::new("never_lost", "Never lost: what was answered with yes is there afterwards");
    let mut read = 0;
    for offer in &record.offers {
        for (id, told, found) in &offer.reread {
            read += 1;
            match found {
                None => trial.case(|| format!("offer {}: claim {id}, told {}, is not there", offer.id, word(*told))),
                Some(found) if !compatible(*told, found) => {
                    trial.case(|| format!("offer {}: claim {id}, told {}, is {found}", offer.id, word(*told)));
                }
                Some(_) => {}
            }
        }
    }
    if read == 0 {
        return trial.not_judged(if record.offers.is_empty() { NO_OFFER } else { "no claim was read again" }, String::new());
    }
    trial.value("claims_reread", read as f64);
    trial.value("claims_lost", trial.cases_total as f64);
    let figures =
        format!("{} read again after the run, {} missing or otherwise than told.", counted(read, "claim", "claims"), trial.cases_total);
    trial.judged(figures)
}

const fn word(state: ClaimState) -> &'static str {
    match state {
        ClaimState::Held => "held",
        ClaimState::Confirmed => "confirmed",
        ClaimState::Released => "released",
        ClaimState::Unknown => "nothing sure",
    }
}

/// Whether a claim of which answers told this may be found so. A hold may have ended by its deadline meanwhile.
fn compatible(told: ClaimState, found: &str) -> bool {
    match told {
        ClaimState::Held => matches!(found, "held" | "expired"),
        ClaimState::Confirmed => found == "confirmed",
        ClaimState::Released => found == "released",
        ClaimState::Unknown => true,
    }
}

pub(super) fn never_twice(record: &Record) -> Verdict {
    let mut trial = Trial::new("never_twice", "Never twice: limits per user hold, and a key gives one claim");
    if record.offers.is_empty() {
        return trial.not_judged(NO_OFFER, String::new());
    }
    let (mut users, mut replays, mut granted) = (0, 0, 0);
    let mut owners: HashMap<&str, u32> = HashMap::new();
    for offer in &record.offers {
        users += limit_per_user(offer, record, &mut trial);
        replays += offer.claims.iter().filter(|claim| claim.replayed).count() as u64;
        granted += offer.granted.len() as u64;
        ids_have_one_owner(offer, &mut owners, &mut trial);
        granted_once(offer, &mut trial);
    }
    replays_repeat(record, &mut trial);
    trial.value("users_with_claims", users as f64);
    trial.value("answers_replayed", replays as f64);
    trial.value("coupons_granted", granted as f64);
    let figures = format!(
        "{} with claims, {} and {} looked at.",
        counted(users, "user", "users"),
        counted(replays, "replayed answer", "replayed answers"),
        counted(granted, "granted coupon", "granted coupons")
    );
    trial.judged(figures)
}

/// Holds each user to the limit; returns how many users have claims of this offer.
fn limit_per_user(offer: &Offer, record: &Record, trial: &mut Trial) -> u64 {
    let mut by_user: BTreeMap<u32, Vec<Taking<'_>>> = BTreeMap::new();
    for taking in takings(offer, record) {
        by_user.entry(taking.claim.user).or_default().push(taking);
    }
    let Some(limit) = offer.per_user_limit else { return by_user.len() as u64 };
    for (user, takings) in &by_user {
        let units = peak(takings, limit.into(), |_, _| ());
        if units > u64::from(limit) {
            trial.case(|| {
                let ids: Vec<&str> = takings.iter().take(4).map(|t| t.claim.id.as_str()).collect();
                format!("offer {}: user {user} has {units} units at once, {limit} allowed (claims {})", offer.id, ids.join(", "))
            });
        }
    }
    by_user.len() as u64
}

fn ids_have_one_owner<'a>(offer: &'a Offer, owners: &mut HashMap<&'a str, u32>, trial: &mut Trial) {
    let claimed = offer.claims.iter().map(|claim| (claim.user, claim.id.as_str()));
    for (user, id) in claimed.chain(offer.granted.iter().map(|(user, id)| (*user, id.as_str()))) {
        let owner = *owners.entry(id).or_insert(user);
        if owner != user {
            trial.case(|| format!("offer {}: claim {id} was given to user {owner} and to user {user}", offer.id));
        }
    }
}

fn granted_once(offer: &Offer, trial: &mut Trial) {
    let mut first: HashMap<u32, &str> = HashMap::new();
    for (user, id) in &offer.granted {
        // The same answer again tells the same id again.
        let had = *first.entry(*user).or_insert(id);
        if had != id {
            trial.case(|| format!("offer {}: user {user} was granted {had} and {id}", offer.id));
        }
    }
}

/// A replayed answer tells a claim that an earlier call made. Its answer is in the record too, or was lost: so there may be as many
/// replays of unseen claims as claim calls without a sure answer, and no more. And what is told as new must be new.
fn replays_repeat(record: &Record, trial: &mut Trial) {
    let mut fresh: HashSet<&str> = HashSet::new();
    for (offer, claim) in record.offers.iter().flat_map(|offer| offer.claims.iter().map(move |claim| (offer, claim))) {
        if !claim.replayed && !fresh.insert(&claim.id) {
            trial.case(|| {
                format!("offer {}: claim {} was answered as new twice, again at {}", offer.id, claim.id, seconds(claim.answered_ms.into()))
            });
        }
    }
    let unsure =
        |(outcome, n): (&String, &u64)| if matches!(outcome.as_str(), "no_answer" | "indeterminate" | "internal") { *n } else { 0 };
    let lost: u64 = record.calls.get(&Call::Claim).map_or(0, |totals| totals.outcomes.iter().map(unsure).sum());
    let mut unseen: HashSet<&str> = HashSet::new();
    for (offer, claim) in record.offers.iter().flat_map(|offer| offer.claims.iter().map(move |claim| (offer, claim))) {
        let is_unseen = claim.replayed && !fresh.contains(claim.id.as_str()) && unseen.insert(&claim.id);
        if is_unseen && unseen.len() as u64 > lost {
            let at = seconds(claim.answered_ms.into());
            trial.case(|| {
                format!("offer {}: a replay told user {} at {at} claim {}, which no call had made", offer.id, claim.user, claim.id)
            });
        }
    }
}
