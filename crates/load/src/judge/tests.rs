//! The judge must be seen to hold what is right and to fail every way of breaking a promise.

use super::sample::{SMALL, right, waiting};
use super::*;
use crate::record::{Call, Claim, ClaimState, Fate, Person};

fn verdict(record: &Record, name: &str) -> Verdict {
    judge(record).into_iter().find(|verdict| verdict.name == name).expect("a verdict of this name")
}

/// Breaks a right run: this verdict must fail, with a case that says so.
fn check_fails(name: &str, says: &str, breaks: impl FnOnce(&mut Record)) {
    let mut record = right(&SMALL);
    breaks(&mut record);
    let verdict = verdict(&record, name);
    assert!(verdict.failed(), "{name} should have failed: {verdict:?}");
    assert!(verdict.cases.iter().any(|case| case.contains(says)), "no case says {says:?}: {:#?}", verdict.cases);
    assert!(verdict.cases.len() <= CASES_MAX && verdict.cases_total >= verdict.cases.len() as u64);
    assert!(!verdict.figures.is_empty());
}

fn check_holds(name: &str, changes: impl FnOnce(&mut Record)) {
    let mut record = right(&SMALL);
    changes(&mut record);
    let verdict = verdict(&record, name);
    assert_eq!(verdict.outcome, Outcome::Held, "{verdict:#?}");
}

fn check_not_judged(name: &str, reason: &str, changes: impl FnOnce(&mut Record)) {
    let mut record = right(&SMALL);
    changes(&mut record);
    let verdict = verdict(&record, name);
    assert!(matches!(&verdict.outcome, Outcome::NotJudged(why) if why.contains(reason)), "{verdict:#?}");
}

/// Those who stood in line and were let in, in order of joining.
fn who_waited(record: &mut Record) -> Vec<&mut Person> {
    record.zones[0].people.iter_mut().filter(|p| p.fate == Fate::Entered && p.entered_ms > p.join_answered_ms + 10_000).collect()
}

fn claim(id: &str, user: u32, quantity: u32, state: ClaimState) -> Claim {
    Claim { id: id.into(), user, quantity, answered_ms: 50_000, replayed: false, state }
}

#[test]
fn a_right_run_keeps_every_promise_and_every_promise_is_judged() {
    let verdicts = judge(&right(&SMALL));
    assert_eq!(verdicts.len(), 11);
    for verdict in &verdicts {
        assert_eq!(verdict.outcome, Outcome::Held, "{verdict:#?}");
    }
    assert!(value(&verdicts, "kendall_tau_b").unwrap() > 0.99);
    assert_eq!(value(&verdicts, "fullest_window"), Some(200.0));
    assert!(value(&verdicts, "capacity_used").unwrap() > 0.995);
    assert_eq!(value(&verdicts, "units_surely_taken"), Some(30.0));
}

#[test]
fn an_empty_run_is_not_judged() {
    let mut record = right(&SMALL);
    (record.zones, record.offers, record.calls) = (vec![], vec![], [].into());
    for verdict in judge(&record) {
        assert!(matches!(verdict.outcome, Outcome::NotJudged(_)), "{verdict:#?}");
    }
}

#[test]
fn overselling() {
    let name = "never_oversold";
    check_fails(name, "claim last of user 90 at 50.000 s made it 41 units of 40", |r| {
        r.offers[0].claims.push(claim("last", 90, 11, ClaimState::Confirmed));
        r.offers[0].after = None;
    });
    check_fails(name, "made it 41 units", |r| r.offers[0].claims.push(claim("held", 90, 11, ClaimState::Held)));
    check_fails(name, "made it 41 units", |r| {
        // What was sold before the run is sold.
        r.offers[0].before = Some(crate::record::Stock { quantity: 40, remaining: 29, held: 0, confirmed: 11 });
    });
    check_fails(name, "41 units confirmed or granted by answers, of 40", |r| {
        r.offers[0].granted = (0..21).map(|i| (100 + i, format!("g-{i}"))).collect();
        r.offers[0].after = None;
    });
    check_fails(name, "20 confirmed afterwards, answers confirmed 21", |r| r.offers[0].granted = vec![(100, "g-1".into())]);
    check_fails(name, "9 remaining + 10 held + 20 confirmed are not 40", |r| r.offers[0].after.as_mut().unwrap().remaining = 9);
    check_fails(name, "19 confirmed afterwards, answers confirmed 20", |r| {
        let after = r.offers[0].after.as_mut().unwrap();
        (after.confirmed, after.remaining) = (19, 11);
    });
    check_fails(name, "29 held or confirmed afterwards, answers gave 30", |r| {
        let after = r.offers[0].after.as_mut().unwrap();
        (after.held, after.remaining) = (9, 11);
    });
}

#[test]
fn doubt_about_units_goes_to_the_server() {
    let name = "never_oversold";
    // The same claim answered again is no further unit; what was released or is unknown may have been given to another.
    check_holds(name, |r| {
        let again = Claim { replayed: true, ..claim("clm-0001", 0, 11, ClaimState::Confirmed) };
        r.offers[0].claims.push(again);
        r.offers[0].claims.push(claim("gone", 90, 11, ClaimState::Released));
        r.offers[0].claims.push(claim("who-knows", 90, 11, ClaimState::Unknown));
    });
    // Holds of 30 s from the first seconds have ended when this one is given.
    check_holds(name, |r| {
        r.offers[0].hold_ms = 30_000;
        r.offers[0].claims.push(claim("later", 90, 20, ClaimState::Confirmed));
        r.offers[0].after = None;
    });
}

#[test]
fn losing() {
    check_fails("never_lost", "claim clm-0001, told confirmed, is not there", |r| r.offers[0].reread[1].2 = None);
    check_fails("never_lost", "claim clm-0001, told confirmed, is expired", |r| r.offers[0].reread[1].2 = Some("expired".into()));
    check_fails("never_lost", "claim clm-0000, told held, is confirmed", |r| r.offers[0].reread[0].2 = Some("confirmed".into()));
    check_fails("never_lost", "told nothing sure, is not there", |r| r.offers[0].reread[0] = ("x".into(), ClaimState::Unknown, None));
    check_holds("never_lost", |r| r.offers[0].reread[0] = ("x".into(), ClaimState::Unknown, Some("returned".into())));
    check_holds("never_lost", |r| r.offers[0].reread[0].2 = Some("expired".into()));
    check_not_judged("never_lost", "read again", |r| r.offers[0].reread.clear());
}

#[test]
fn giving_twice() {
    let name = "never_twice";
    check_fails(name, "user 0 has 3 units at once, 2 allowed (claims clm-0000, clm-0001, more)", |r| {
        r.offers[0].claims.push(claim("more", 0, 1, ClaimState::Confirmed));
    });
    check_fails(name, "claim clm-0004 was given to user 2 and to user 7", |r| r.offers[0].claims[14].id = "clm-0004".into());
    check_fails(name, "claim clm-0004 was answered as new twice, again at 0.500 s", |r| r.offers[0].claims[5].id = "clm-0004".into());
    check_fails(name, "a replay told user 3 at 9.000 s claim other, which no call had made", |r| {
        r.offers[0].claims[40].id = "other".into()
    });
    check_fails(name, "user 5 was granted g-1 and g-2", |r| {
        r.offers[0].granted = vec![(5, "g-1".into()), (6, "g-3".into()), (5, "g-2".into())]
    });
    check_fails(name, "claim clm-0004 was given to user 2 and to user 5", |r| r.offers[0].granted = vec![(5, "clm-0004".into())]);
    check_holds(name, |r| r.offers[0].granted = vec![(5, "g-1".into()), (5, "g-1".into())]);
    // Its first answer was lost on the way.
    check_holds(name, |r| {
        r.offers[0].claims[40].id = "other".into();
        r.calls.get_mut(&Call::Claim).unwrap().outcomes.insert("no_answer".into(), 1);
    });
    // One held, ended by its deadline, another taken after that.
    check_holds(name, |r| {
        r.offers[0].hold_ms = 20_000;
        r.offers[0].claims.push(claim("more", 0, 1, ClaimState::Confirmed));
    });
}

#[test]
fn too_many_in_a_window() {
    check_fails("rolling_limit", "zone main-gate: 201 admissions in the 10.000 s up to", |r| {
        let (first, second) = (r.zones[0].people[10].admitted_server_ms, &mut who_waited(r)[5]);
        second.admitted_server_ms = first + 3;
    });
    check_fails("rolling_limit", "1 allowed", |r| r.zones[0].limit = Some(1));
    check_not_judged("rolling_limit", "no zone of this run has a limit", |r| r.zones[0].limit = None);
    // Exactly one window apart is not in the same.
    check_holds("rolling_limit", |r| {
        for (i, person) in r.zones[0].people.iter_mut().enumerate() {
            person.admitted_server_ms = i64::from(i as u32 / 200) * 10_000;
        }
    });
}

#[test]
fn overtaking() {
    let name = "first_come_first_served";
    check_fails(name, "was admitted at", |r| {
        let mut line = who_waited(r);
        let (early, late) = (line[0].admitted_server_ms, line[900].admitted_server_ms);
        (line[0].admitted_server_ms, line[900].admitted_server_ms) = (late, early);
    });
    check_fails(name, "still waits", |r| {
        let forgotten = &mut who_waited(r)[3];
        (forgotten.fate, forgotten.admitted_server_ms, forgotten.entered_ms) = (Fate::Waiting, i64::MIN, u32::MAX);
    });
    // A newcomer who is let in with the first answer, past those who wait.
    check_fails(name, "was admitted at", |r| {
        let mut newcomer = waiting(20_000, 20_002);
        (newcomer.fate, newcomer.entered_ms, newcomer.admitted_server_ms) = (Fate::Entered, 20_002, 20_001);
        r.zones[0].people.push(newcomer);
    });
    // Who polls first enters first; and who left may be passed.
    check_holds(name, |r| {
        let mut line = who_waited(r);
        line[0].admitted_server_ms += 3_900;
        (line[9].fate, line[9].admitted_server_ms, line[9].entered_ms) = (Fate::LeftSilently, i64::MIN, u32::MAX);
    });
    check_not_judged(name, "nobody entered after waiting", |r| r.zones[0].people.truncate(150));
}

#[test]
fn small_overtakings_are_counted_though_they_fail_nothing() {
    let mut record = right(&SMALL);
    let mut line = who_waited(&mut record);
    let (one, other) = (line[100].admitted_server_ms, line[140].admitted_server_ms);
    (line[100].admitted_server_ms, line[140].admitted_server_ms) = (other, one);
    let verdict = verdict(&record, "first_come_first_served");
    assert_eq!(verdict.outcome, Outcome::Held);
    assert_eq!(verdict.value("largest_overtaking_ms"), Some((other - one) as f64));
    assert!(other > one && verdict.value("certain_overtakings").unwrap() > 0.0);
    assert!(verdict.value("kendall_tau_b").unwrap() < 1.0);
}

#[test]
fn what_single_people_were_told() {
    check_fails("ranks_never_rise", "person 7 of zone main-gate", |r| r.zones[0].people[7].rank_rose = true);
    check_fails("admissions_stand", "contradicted 2 times", |r| r.zones[0].people[7].contradictions = 2);
    check_fails("nobody_lost", "told that the ticket is gone", |r| r.zones[0].people[2_000].fate = Fate::Lost);
}

#[test]
fn estimates() {
    let name = "estimates";
    check_fails(name, "was shown", |r| {
        who_waited(r).into_iter().for_each(|p| p.first_estimate_ms += (p.entered_ms - p.first_shown_ms) / 5)
    });
    check_fails(name, "was shown", |r| who_waited(r).into_iter().for_each(|p| p.first_estimate_ms /= 2));
    // A few absurd ones do not move a median.
    check_holds(name, |r| who_waited(r).into_iter().take(100).for_each(|p| p.first_estimate_ms = 0));
    check_not_judged(name, "100 are needed", |r| r.zones[0].people.truncate(300));
    check_not_judged(name, "100 are needed", |r| r.zones[0].otherwise_bound = true);
    // Nobody can measure in a line's first minute who will leave; and this run has but one minute.
    let leaves = |nth: usize| move |r: &mut Record| who_waited(r).into_iter().step_by(nth).for_each(|p| p.fate = Fate::LeftSilently);
    check_not_judged(name, "100 are needed", leaves(20));
    check_holds(name, leaves(100));
    // Who left behind one's back, at the end of the run say, is no excuse.
    check_fails(name, "was shown", |r| {
        let mut line = who_waited(r);
        line.iter_mut().skip(300).for_each(|p| p.fate = Fate::Left);
        line.iter_mut().for_each(|p| p.first_estimate_ms *= 2);
    });
}

#[test]
fn estimates_of_a_line_that_people_leave_are_judged_once_leavers_could_be_measured() {
    let mut record = right(&super::sample::Size { seconds: 160, leaves_one_in: 5, ..SMALL });
    assert_eq!(verdict(&record, "estimates").outcome, Outcome::Held);
    for person in who_waited(&mut record) {
        // Only what was shown in the first minute is wrong; then, only what was shown after it.
        person.first_estimate_ms *= if person.first_shown_ms < 60_000 { 3 } else { 1 };
    }
    assert_eq!(verdict(&record, "estimates").outcome, Outcome::Held);
    for person in who_waited(&mut record) {
        person.first_estimate_ms *= if person.first_shown_ms < 60_000 { 1 } else { 3 };
    }
    assert!(verdict(&record, "estimates").failed());
}

#[test]
fn unused_capacity() {
    let name = "capacity_used";
    // One entry of forty is given to nobody.
    let mut slower = right(&SMALL);
    for person in who_waited(&mut slower).into_iter().step_by(40) {
        (person.fate, person.admitted_server_ms, person.entered_ms) = (Fate::LeftSilently, i64::MIN, u32::MAX);
    }
    let verdict = verdict(&slower, name);
    assert!(verdict.failed(), "{verdict:#?}");
    assert!((0.97..0.98).contains(&verdict.value(name).unwrap()), "{verdict:#?}");
    check_fails(name, "zone main-gate: ", |r| r.zones[0].limit = Some(220));
    check_not_judged(name, "something else", |r| r.zones[0].otherwise_bound = true);
    check_not_judged(name, "something else", |r| r.zones[0].limit = None);
    check_not_judged(name, "two whole windows", |r| r.zones[0].people.truncate(300));
}

#[test]
fn failed_calls() {
    let name = "calls_answered";
    let add = |outcome: &'static str| move |r: &mut Record| _ = r.calls.get_mut(&Call::Entry).unwrap().outcomes.insert(outcome.into(), 3);
    check_fails(name, "entry: no_answer, 3 times", add("no_answer"));
    check_fails(name, "entry: indeterminate, 3 times", add("indeterminate"));
    check_fails(name, "entry: 502, 3 times", add("502"));
    check_fails(name, "an answer that is not JSON, 1 time", |r| _ = r.faults.insert("an answer that is not JSON".into(), 1));
    check_holds(name, add("sold_out"));
    let mut shed = right(&SMALL);
    add("overloaded")(&mut shed);
    let verdict = verdict(&shed, name);
    assert_eq!((verdict.failed(), verdict.value("calls_shed"), verdict.value("calls_failed")), (false, Some(3.0), Some(0.0)));
}
