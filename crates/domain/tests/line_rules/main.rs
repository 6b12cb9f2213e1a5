//! Single rules of the line, each as one short story.

mod story;

use bunho_domain::event::{TicketNumber, ZoneChange, ZoneEvent, ZoneMinute};
use bunho_domain::ids::ZoneId;
use bunho_domain::line::{Admission, Answer, Issued, Join, JoinOutcome, OfferLeft, PollRefusal, RESERVE_BLOCK, State};
use story::*;

#[test]
fn a_burst_makes_no_line_and_the_last_poll_is_timed_to_the_entry() {
    let mut story = Story::new(Some(10), |_| {});
    for _ in 0..10 {
        assert!(entered(story.join().answer), "ten enter at once though a slot is two");
    }
    story.after(100);
    let first = story.join();
    assert_eq!((place(first.answer).state, place(first.answer).rank, place(first.answer).estimated_seconds), (State::Waiting, 1, Some(60)));
    let mut told = place(first.answer).polling_ms;
    let mut waited = 0;
    while waited + i64::from(told) < 59_900 {
        waited += i64::from(told);
        story.after(told.into());
        told = story.place(first).polling_ms;
    }
    assert_eq!(waited + i64::from(told), 59_900, "the last poll falls on the millisecond");
    story.after(told.into());
    assert!(entered(story.poll(first).unwrap()));
}

#[test]
fn the_same_key_has_the_same_ticket_and_an_admission_is_answered_again_until_the_pass_ends() {
    let mut story = Story::new(Some(1), |_| {});
    let inside = story.join_as(77);
    let waits = story.join_as(78);
    let again = story.join_as(78);
    assert_eq!((again.number, again.issued_at, again.nonce), (waits.number, waits.issued_at, 78));
    let admission = Admission { at: START, expires_at: START.plus_seconds(600) };
    story.after(599_999);
    assert_eq!(story.poll(inside), Ok(Answer::Admitted(admission)));
    assert_eq!(story.join_as(77).number, inside.number);
    story.after(1);
    assert_eq!(story.poll(inside), Err(PollRefusal::Gone));
    assert_ne!(story.join_as(77).number, inside.number, "a used up ticket is not given again");
    let admitted = story.events.iter().filter(|e| matches!(e.change, ZoneChange::Admitted { ticket, .. } if ticket == inside.number));
    assert_eq!(admitted.count(), 1);
}

#[test]
fn silence_costs_first_the_hold_then_the_rank_then_the_place() {
    let mut story = Story::new(Some(1), |s| s.paused = true);
    let silent = story.join();
    let other = story.join();
    assert_eq!(story.place(other).rank, 2);
    story.after(5_500);
    story.define(|s| s.paused = false);
    assert!(entered(story.poll(other).unwrap()), "the absent one holds nobody up");
    let last = story.join();
    assert_eq!(place(last.answer).rank, 2, "but it keeps its rank");
    story.after(60_000);
    assert_eq!(story.line.status(OfferLeft::Untied, story.now).waiting, 0, "dormant, all of them");
    story.define(|s| s.paused = true);
    story.after(119_000);
    assert_eq!(story.place(last).rank, 1);
    assert_eq!(story.poll(silent), Err(PollRefusal::Gone), "180 s after its last sign of life");
}

#[test]
fn a_paused_closed_or_sold_out_line_keeps_its_order_and_an_opening_is_met_to_the_millisecond() {
    let mut story = Story::new(Some(60), |s| s.opens_at = Some(START.plus_ms(4_000)));
    let tickets: Vec<Issued> = (0..3).map(|_| story.join()).collect();
    for (i, ticket) in tickets.iter().enumerate() {
        let place = place(ticket.answer);
        assert_eq!((place.state, place.rank, place.estimated_seconds), (State::NotOpen, i as u32 + 1, None));
        let due = START.plus_ms(place.polling_ms.into());
        assert!(due >= START.plus_ms(4_000), "told to poll {} ms after opening", due.since_ms(START) - 4_000);
    }
    story.after(4_000);
    assert!(entered(story.poll(tickets[0]).unwrap()));
    for (edit, state) in [(Some(0), State::Closed), (Some(60), State::Paused)] {
        story.define(|s| (s.entry_limit_per_minute, s.paused) = (edit, state == State::Paused));
        let place = story.place(tickets[1]);
        assert_eq!((place.state, place.rank), (state, 1));
    }
    story.define(|s| s.paused = false);
    let sold_out = story.line.poll(as_poll(tickets[2]), OfferLeft::Some(0), story.now, &mut story.events).unwrap();
    assert_eq!((place(sold_out).state, place(sold_out).rank), (State::SoldOut, 2));
}

#[test]
fn the_fourth_hasty_poll_is_refused_until_the_period_has_passed() {
    let mut story = Story::new(Some(60), |s| s.paused = true);
    let ticket = story.join();
    for _ in 0..3 {
        story.after(10);
        story.place(ticket);
    }
    story.after(10);
    let Err(PollRefusal::TooFast { retry_ms }) = story.poll(ticket) else { panic!("a fourth hasty poll") };
    assert!((2_000..3_400).contains(&retry_ms), "{retry_ms}");
    story.after(retry_ms.into());
    story.place(ticket);
}

#[test]
fn leaving_frees_the_place_or_the_seat_at_once() {
    let mut story = Story::new(None, |s| (s.active_limit, s.pass_ttl_seconds) = (Some(1), 5));
    let inside = story.join();
    let next = story.join();
    let after = story.join();
    assert!(entered(inside.answer) && !entered(next.answer));
    story.after(3_000);
    assert_eq!(story.place(after).rank, 2);
    story.leave(next);
    assert_eq!(story.poll(next), Err(PollRefusal::Gone));
    story.after(3_000);
    assert_eq!(story.poll(inside), Err(PollRefusal::Gone), "its pass has ended, its session has not");
    assert_eq!(story.place(after).rank, 1);
    story.leave(inside);
    story.leave(inside);
    assert!(entered(story.poll(after).unwrap()));
    let left = story.events.iter().filter(|e| matches!(e.change, ZoneChange::Left { .. })).count();
    assert_eq!(left, 2);
}

#[test]
fn a_reset_ends_tickets_but_neither_the_limit_nor_sessions() {
    let mut story = Story::new(Some(3), |s| s.active_limit = Some(3));
    let inside: Vec<Issued> = (0..3).map(|_| story.join()).collect();
    let waits = story.join();
    story.define(|s| s.epoch += 1);
    assert_eq!(story.poll(waits), Err(PollRefusal::Gone));
    assert_eq!(story.poll(inside[0]), Err(PollRefusal::Gone));
    let new = story.join();
    assert_eq!((new.number, entered(new.answer)), (TicketNumber { epoch: 2, seq: 0 }, false));
    story.after(59_999);
    assert!(!entered(story.poll(new).unwrap()));
    story.after(1);
    assert!(!entered(story.poll(new).unwrap()), "three are still inside");
    story.leave(inside[1]);
    assert!(entered(story.poll(new).unwrap()));
    story.restart();
    assert_eq!(story.line.status(OfferLeft::Untied, story.now).active, 3);
}

#[test]
fn polls_rebuild_a_restarted_line_in_its_first_order() {
    let mut story = Story::new(Some(2), |_| {});
    let tickets: Vec<Issued> = (0..6).map(|_| story.join()).collect();
    assert!(entered(tickets[1].answer) && !entered(tickets[2].answer));
    story.leave(tickets[3]);
    story.after(30_000);
    story.restart();
    let newcomer = story.join();
    assert_eq!(newcomer.number.seq, RESERVE_BLOCK, "no number is given out twice");
    assert_eq!(place(newcomer.answer).state, State::Recovering);
    assert_eq!(story.poll(tickets[3]), Err(PollRefusal::Gone), "left before the restart");
    assert_eq!(story.poll(tickets[0]), Ok(tickets[0].answer), "admitted before the restart");
    for ticket in [tickets[5], tickets[2], tickets[4]] {
        assert_eq!(story.place(ticket).state, State::Recovering);
    }
    assert_eq!(story.join_as(tickets[4].nonce).number, tickets[4].number, "a restored ticket has its key again");
    story.after(6_000);
    for (ticket, rank) in [(tickets[2], 1), (tickets[4], 2), (tickets[5], 3), (newcomer, 4)] {
        let place = story.place(ticket);
        assert_eq!((place.state, place.rank), (State::Waiting, rank));
    }
    story.after(24_000);
    assert!(entered(story.poll(tickets[2]).unwrap()), "60 s after the first two, whatever happened between");
}

#[test]
fn an_unknown_ticket_is_put_back_only_within_the_grace() {
    let mut story = Story::new(Some(1), |s| s.paused = true);
    let tickets: Vec<Issued> = (0..3).map(|_| story.join()).collect();
    story.restart();
    story.after(199_999);
    story.place(tickets[1]);
    story.after(1);
    assert_eq!(story.poll(tickets[2]), Err(PollRefusal::Gone));
    let never = Issued { number: TicketNumber { epoch: 1, seq: RESERVE_BLOCK + 5 }, ..tickets[2] };
    assert_eq!(story.poll(never), Err(PollRefusal::Gone));
    let forged = Issued { nonce: 1_234, ..tickets[1] };
    assert_eq!(story.poll(forged), Err(PollRefusal::Gone), "the number is another ticket's");
}

#[test]
fn who_ended_long_ago_is_gone_after_a_restart_and_who_was_silent_within_the_grace_is_back() {
    let mut story = Story::new(Some(1), |s| (s.pass_ttl_seconds, s.session_seconds) = (30, 30));
    let admitted = story.join();
    assert!(entered(admitted.answer));
    story.define(|s| s.paused = true);
    let gone = story.join();
    story.after(150_000);
    let silent = story.join();
    story.after(100_000);
    let last = story.join();
    assert_eq!(story.line.status(OfferLeft::Untied, story.now).waiting, 1, "one is gone, and one is silent within its grace");
    assert_eq!(story.front(), Some(silent.number.seq));
    // As in the ledger, which has long forgotten the admission.
    story.events.retain(|event| !matches!(event.change, ZoneChange::Admitted { .. }));
    story.restart();
    for ended in [admitted, gone] {
        assert_eq!(story.poll(ended), Err(PollRefusal::Gone));
        story.leave(ended);
        assert_eq!(story.poll(ended), Err(PollRefusal::Gone));
    }
    story.place(last);
    story.place(silent);
    story.after(6_000);
    assert_eq!((story.place(silent).rank, story.place(last).rank), (1, 2));
    assert!(!story.events.iter().any(|event| matches!(event.change, ZoneChange::Left { .. })));
}

#[test]
fn an_admission_below_the_front_is_answered_again_after_a_restart() {
    let mut story = Story::new(Some(1), |_| {});
    let inside = story.join();
    let waits = story.join();
    story.after(10_000);
    assert_eq!(story.front(), Some(waits.number.seq));
    story.restart();
    assert_eq!(story.poll(inside), Ok(inside.answer));
    assert_eq!(story.line.status(OfferLeft::Untied, story.now).active, 1);
}

#[test]
fn the_front_is_told_when_it_has_moved_but_not_often_and_not_while_tickets_return() {
    let mut story = Story::new(Some(1), |s| s.paused = true);
    story.after(10_000);
    assert_eq!(story.front(), None, "nobody came");
    let tickets: Vec<Issued> = (0..2_000).map(|_| story.join()).collect();
    story.leave(tickets[0]);
    story.after(9_999);
    assert_eq!(story.front(), None, "not yet");
    story.after(1);
    assert_eq!(story.front(), Some(1));
    story.after(10_000);
    assert_eq!(story.front(), None, "it stands");
    tickets[2..].iter().for_each(|ticket| story.leave(*ticket));
    story.after(10_000);
    assert_eq!(story.front(), None, "the first still waits");

    story.restart();
    story.after(100_000);
    story.place(tickets[1]);
    story.leave(tickets[1]);
    assert_eq!(story.front(), None, "others may still return");
    story.after(99_999);
    assert_eq!(story.front(), None);
    story.after(1);
    assert_eq!(story.front(), Some(RESERVE_BLOCK), "nobody waits: the next number");

    story.define(|s| s.epoch += 1);
    let new = story.join();
    story.leave(new);
    story.after(10_000);
    assert_eq!(story.front(), Some(1), "of the new epoch");
    let next = story.join();
    story.restart();
    story.place(next);
    assert_eq!(story.poll(new), Err(PollRefusal::Gone));
}

#[test]
fn numbers_are_given_out_only_when_reserved_durably() {
    let mut story = Story::new(Some(1), |_| {});
    let join = Join { nonce: 5, keyed: false };
    let mut events = Vec::new();
    assert_eq!(story.line.join(join, OfferLeft::Untied, START, &mut events), JoinOutcome::Unreserved);
    assert!(story.line.reserve(&mut events));
    assert!(!story.line.reserve(&mut events), "one at a time");
    assert_eq!(story.line.join(join, OfferLeft::Untied, START, &mut events), JoinOutcome::Unreserved);
    story.line.reserved(0, 5_000);
    assert_eq!(story.line.join(join, OfferLeft::Untied, START, &mut events), JoinOutcome::Unreserved, "of an older epoch");
    story.line.reserved(1, RESERVE_BLOCK);
    assert!(!story.line.reserve(&mut events), "there is enough");
    for seq in 0..=RESERVE_BLOCK / 2 {
        let JoinOutcome::Issued(issued) = story.line.join(join, OfferLeft::Untied, START, &mut events) else { panic!("{seq}") };
        assert_eq!(issued.number.seq, seq);
    }
    events.clear();
    assert!(story.line.reserve(&mut events));
    assert_eq!(events[0].change, ZoneChange::Reserved { epoch: 1, upto: 2 * RESERVE_BLOCK });
}

#[test]
fn minutes_tell_who_entered_waited_and_dropped_out() {
    let mut story = Story::new(Some(2), |_| {});
    let tickets: Vec<Issued> = (0..4).map(|_| story.join()).collect();
    story.leave(tickets[2]);
    story.after(59_999);
    story.place(tickets[3]);
    let minutes = |story: &mut Story| {
        let mut rows = Vec::new();
        story.line.minute(story.now, &mut rows);
        rows.retain(|row| matches!(row.change, ZoneChange::Minute(_)));
        rows
    };
    assert_eq!(minutes(&mut story), []);
    story.after(2);
    let rows = minutes(&mut story);
    let zone = ZoneId::parse("z").expect("an id");
    let row = ZoneMinute { zone, minute: START, entered: 2, waiting: 1, dropped: 1, entry_limit: Some(2) };
    assert_eq!(rows, [ZoneEvent { zone: 9, change: ZoneChange::Minute(row) }]);
    assert!(entered(story.poll(tickets[3]).unwrap()));
    story.restart();
    story.after(60_000);
    let rows = minutes(&mut story);
    let ZoneChange::Minute(row) = &rows[0].change else { panic!("{rows:?}") };
    assert_eq!((row.minute, row.entered), (START.plus_ms(60_000), 1), "an admission of before the restart is counted once");
    story.after(3_600_000);
    assert_eq!(minutes(&mut story), [], "nothing is told of empty minutes");
}

#[test]
fn a_waiting_ticket_costs_at_most_a_hundred_bytes_and_ended_ones_cost_nothing() {
    let mut story = Story::new(Some(1), |_| {});
    let empty = story.line.memory_bytes();
    let tickets: Vec<Issued> = (0..200_000_u64).map(|i| story.join_as(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let each = (story.line.memory_bytes() - empty) as f64 / tickets.len() as f64;
    println!("{each:.1} bytes for each of {} waiting tickets", tickets.len());
    assert!(each <= 100.0, "{each}");
    for ticket in &tickets[1..] {
        story.leave(*ticket);
    }
    story.after(600_000);
    assert!(!story.line.has_live());
    let keys = 200_000 * 12;
    assert!(story.line.memory_bytes() < empty + 100_000 + keys, "{} bytes after all have left", story.line.memory_bytes());
}

#[test]
fn a_gap_in_the_numbers_costs_almost_nothing() {
    let mut story = Story::new(Some(1), |s| s.paused = true);
    let first = story.join();
    story.events.push(ZoneEvent { zone: 9, change: ZoneChange::Reserved { epoch: 1, upto: 10_000_000 } });
    story.restart();
    let newcomer = story.join();
    assert_eq!(newcomer.number.seq, 10_000_000);
    story.place(first);
    story.after(6_000);
    assert_eq!((story.place(first).rank, story.place(newcomer).rank), (1, 2));
    assert!(story.line.memory_bytes() < 500_000, "{}", story.line.memory_bytes());
}

#[test]
fn entries_that_nobody_took_while_people_waited_are_counted() {
    let mut story = Story::new(Some(600), |_| {});
    let crowd: Vec<Issued> = (0..650).map(|_| story.join()).collect();
    let waiting = &crowd[600..];
    // The window is full for a minute, and everybody polls: nothing is left unused.
    for _ in 0..59 {
        story.after(1_000);
        for ticket in waiting {
            let _ = story.poll(*ticket);
        }
    }
    let status = |story: &mut Story| story.line.status(OfferLeft::Untied, story.now);
    let before = status(&mut story);
    assert_eq!((before.waiting, before.present, before.entered_in_all, before.unused_in_all), (50, 50, 600, 0));
    // A slot of sixty begins. Twenty ask and enter; thirty do not ask; somebody who came late is no reason to count more.
    story.after(1_500);
    for ticket in &waiting[..20] {
        assert!(matches!(story.poll(*ticket), Ok(Answer::Admitted(_))));
    }
    story.after(5_000);
    story.join();
    story.after(1_000);
    let after = status(&mut story);
    assert_eq!((after.entered_in_all, after.unused_in_all), (620, 30), "{after:?}");
    // One of them gives up, the rest fall silent.
    story.leave(waiting[20]);
    assert_eq!(status(&mut story).left_in_all, 1);
    for _ in 0..600 {
        story.after(1_000);
    }
    let end = status(&mut story);
    assert_eq!((end.waiting, end.present, end.left_in_all, end.silent_in_all), (0, 0, 1, 30), "29 of them, and who came late");
}

#[test]
fn a_line_that_stands_still_leaves_nothing_unused() {
    let mut story = Story::new(Some(60), |_| {});
    let crowd: Vec<Issued> = (0..70).map(|_| story.join()).collect();
    story.define(|settings| settings.paused = true);
    for _ in 0..70 {
        story.after(3_000);
        for ticket in &crowd[60..] {
            let _ = story.poll(*ticket);
        }
    }
    let status = |story: &mut Story| story.line.status(OfferLeft::Untied, story.now);
    let paused = status(&mut story);
    assert_eq!((paused.waiting, paused.present, paused.unused_in_all), (10, 10, 0));
    // In the slot in which it goes on six enter. In the next one four who are there do not ask.
    story.define(|settings| settings.paused = false);
    story.after(3_000);
    for ticket in &crowd[60..] {
        let _ = story.poll(*ticket);
    }
    story.after(2_500);
    for ticket in &crowd[66..] {
        let _ = story.poll(*ticket);
    }
    story.after(1_000);
    let goes_on = status(&mut story);
    assert_eq!((goes_on.waiting, goes_on.present, goes_on.unused_in_all), (4, 4, 0));
    story.after(5_000);
    story.join();
    story.after(1_000);
    assert_eq!(status(&mut story).unused_in_all, 4);
}
