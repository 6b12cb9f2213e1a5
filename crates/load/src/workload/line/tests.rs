//! People of a line that are answered by hand, also with what no honest server would say.

use super::*;

const BEGAN_UNIX_MS: i64 = 1_767_225_600_000;

fn line(manners: Manners) -> Line {
    let zone = Zone {
        id: "Z".into(),
        limit: Some(1),
        window_ms: 60_000,
        slot_ms: 6_000,
        poll_max_ms: 0,
        otherwise_bound: false,
        people: Vec::new(),
    };
    Line::new("h", zone, manners, Random::new(11), BEGAN_UNIX_MS + 600_000)
}

fn patient() -> Manners {
    Manners { leave_silently: 0.0, leave_openly: 0.0, pause_us: 0, expected: 8 }
}

fn waits(rank: u32, state: &str) -> String {
    format!(
        r#"{{"canEnter":false,"token":"t-{rank}","zoneId":"Z","waiting":{{"state":"{state}","rank":{rank},"behind":0,"estimatedSeconds":7,"pollingPeriod":3000}}}}"#
    )
}

fn enters(pass: &str) -> String {
    format!(r#"{{"canEnter":true,"token":"t","zoneId":"Z","pass":"{pass}","passExpiresAt":"2026-01-01T00:10:05.250Z"}}"#)
}

fn hear(line: &mut Line, user: u32, now_us: u64, body: &str) -> Next {
    let answer = Answer { status: 200, retry_after_s: None, replayed: false, close: false, body: body.as_bytes() };
    let (step, _) = line.answered(user, Moment { sent_us: now_us - 1_000, now_us }, &answer, &mut Meter::default());
    assert_eq!(step.outcome, Outcome::Good);
    step.next
}

#[test]
fn somebody_joins_polls_as_told_and_enters() {
    let mut line = line(patient());
    assert_eq!(line.begin(0, 5_000), 5_000);
    assert_eq!(hear(&mut line, 0, 10_000, &waits(3, "waiting")), Next::At(3_010_000));
    let mut out = Vec::new();
    assert_eq!(line.request(0, &mut out), Call::Entry);
    assert!(String::from_utf8_lossy(&out).ends_with("content-length: 28\r\n\r\n{\"zoneId\":\"Z\",\"token\":\"t-3\"}"));
    assert_eq!(hear(&mut line, 0, 20_000, &waits(2, "waiting")), Next::At(3_020_000));
    hear(&mut line, 0, 30_000, &enters("p"));
    let (zone, trails) = line.finish();
    let person = zone.people[0];
    assert_eq!((person.fate, person.first_rank, person.first_estimate_ms, person.first_shown_ms), (Fate::Entered, 3, 7_000, 10));
    assert_eq!((person.join_sent_ms, person.join_answered_ms, person.entered_ms, person.admitted_server_ms), (9, 10, 30, 5_250));
    assert_eq!((person.rank_rose, person.contradictions, zone.poll_max_ms), (false, 0, 3_000));
    assert_eq!(trails[0].points, [(10, 3, Some(7_000)), (20, 2, Some(7_000))]);
}

#[test]
fn what_contradicts_an_earlier_answer_is_noted() {
    let mut line = line(patient());
    for user in 0..3_000 {
        line.begin(user, 0);
        let asks_again = hear(&mut line, user, 10_000, &enters("p")) != Next::Done;
        let again = [enters("p"), enters("another"), waits(1, "waiting")];
        if asks_again {
            assert_eq!(hear(&mut line, user, 20_000, &again[user as usize % 3]), Next::Done);
        }
    }
    let contradictions: Vec<u32> =
        line.finish().0.people.iter().enumerate().filter(|(_, person)| person.contradictions > 0).map(|(user, _)| user as u32).collect();
    assert!((5..60).contains(&contradictions.len()), "one in a hundred asks again, and two of three are contradicted: {contradictions:?}");
    assert!(contradictions.iter().all(|user| user % 3 != 0));
}

#[test]
fn a_rank_that_rises_is_noted_unless_the_line_recovers() {
    for (states, rose) in [(["waiting", "waiting"], true), (["waiting", "recovering"], false), (["recovering", "waiting"], true)] {
        let mut line = line(patient());
        line.begin(0, 0);
        hear(&mut line, 0, 10_000, &waits(3, states[0]));
        hear(&mut line, 0, 20_000, &waits(4, states[1]));
        assert_eq!(line.finish().0.people[0].rank_rose, rose, "{states:?}");
    }
}

#[test]
fn who_leaves_does_so_within_a_few_polls() {
    for (silently, openly, fate) in [(1.0, 0.0, Fate::LeftSilently), (0.0, 1.0, Fate::Left)] {
        let mut line = line(Manners { leave_silently: silently, leave_openly: openly, ..patient() });
        let mut meter = Meter::default();
        for user in 0..50 {
            line.begin(user, 0);
            let mut polls = 0;
            while hear(&mut line, user, 10_000, &waits(1, "waiting")) != Next::Done {
                polls += 1;
                if line.request(user, &mut Vec::new()) == Call::Leave {
                    let gone = Answer { status: 204, retry_after_s: None, replayed: false, close: false, body: b"" };
                    assert_eq!(line.answered(user, Moment { sent_us: 1, now_us: 2 }, &gone, &mut meter).0.next, Next::Done);
                    break;
                }
                assert!(u64::from(polls as u32) <= LEAVES_WITHIN_POLLS);
            }
        }
        assert!(line.finish().0.people.iter().all(|person| person.fate == fate));
    }
}
