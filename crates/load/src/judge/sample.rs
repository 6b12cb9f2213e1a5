//! Records to judge and to draw: a right run of a small world, built by playing an ideal line, for tests to break.

use crate::record::{
    Call, CallTotals, Claim, ClaimState, End, Fate, Offer, Person, Published, Record, Second, ServerSample, Stock, Trail, Zone,
};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};

/// A fixed sequence of numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(bound.max(1))) as u32
    }
}

/// Somebody who got a place and waits.
pub(crate) fn waiting(sent: u32, answered: u32) -> Person {
    Person {
        join_sent_ms: sent,
        join_answered_ms: answered,
        admitted_server_ms: i64::MIN,
        entered_ms: u32::MAX,
        first_rank: 1,
        first_estimate_ms: u32::MAX,
        first_shown_ms: answered,
        fate: Fate::Waiting,
        rank_rose: false,
        contradictions: 0,
    }
}

/// How large the world is.
pub(crate) struct Size {
    pub(crate) people: u32,
    pub(crate) seconds: u32,
    pub(crate) limit: u32,
    pub(crate) window_ms: u32,
    pub(crate) slot_ms: u32,
    /// Of so many who wait, one leaves without a word; 0: nobody does.
    pub(crate) leaves_one_in: u32,
}

/// Small enough for many tests, and long enough that every promise is judged.
pub(crate) const SMALL: Size = Size { people: 3_000, seconds: 60, limit: 200, window_ms: 10_000, slot_ms: 1_000, leaves_one_in: 0 };

/// A right run: a line and an offer.
pub(crate) fn right(size: &Size) -> Record {
    let mut random = Random(42);
    let people = line(size, &mut random);
    let mut record = empty(size);
    record.trails = trails(&people, size);
    record.seconds = seconds(&people, size, &mut random);
    record.calls = calls(&record.seconds, &mut random);
    record.zones = vec![Zone {
        id: "main-gate".into(),
        limit: Some(size.limit),
        window_ms: size.window_ms,
        slot_ms: size.slot_ms,
        poll_max_ms: 3_000,
        otherwise_bound: false,
        people,
    }];
    record.offers = vec![offer()];
    record.server = (0..size.seconds)
        .map(|s| ServerSample {
            at_ms: u64::from(s) * 1_000,
            cpu_seconds: 3.0 + f64::from(s) * 0.7 + f64::from(s * s) * 0.001,
            resident_bytes: 80_000_000 + u64::from(s) * 1_500_000,
        })
        .collect();
    record
}

fn empty(size: &Size) -> Record {
    Record {
        title: "seed 002".into(),
        settings: vec![
            ("target".into(), "127.0.0.1:8080".into()),
            ("virtual users".into(), size.people.to_string()),
            ("entries a window".into(), size.limit.to_string()),
            ("seed".into(), "42".into()),
        ],
        began_unix_ms: 1_767_225_600_000,
        elapsed_ms: u64::from(size.seconds) * 1_000,
        end: End::Planned,
        published: vec![
            Published { name: "API calls".into(), published: "10,130,000".into(), today: "1,712,044".into() },
            Published { name: "P95 of the answer time".into(), published: "36.48 ms".into(), today: "4.91 ms".into() },
        ],
        calls: BTreeMap::new(),
        seconds: vec![],
        zones: vec![],
        offers: vec![],
        trails: vec![],
        server: vec![],
        faults: BTreeMap::new(),
    }
}

/// People who come as in seed 002 (half in the first sixteenth of the time) and enter the moment they may, but for 0 to 80 ms.
fn line(size: &Size, random: &mut Random) -> Vec<Person> {
    let run_ms = u64::from(size.seconds) * 1_000;
    let ramp_ms = run_ms / 16;
    let mut recent: VecDeque<i64> = VecDeque::new();
    let mut people = Vec::new();
    let mut entries = Vec::new();
    let (mut slot, mut in_slot, mut clock) = (-1, 0, 0_i64);
    let quota = (size.limit * size.slot_ms).div_ceil(size.window_ms);
    let mut anyone_waits = false;
    for i in 0..u64::from(size.people) {
        let half = u64::from(size.people / 2).max(1);
        let joined = if i < half { i * ramp_ms / half } else { ramp_ms + (i - half) * (run_ms * 3 / 4 - ramp_ms) / half } as u32;
        let mut person = waiting(joined, joined + 1 + random.below(8));
        person.first_rank = 1 + (entries.len() - entries.partition_point(|at| *at <= i64::from(joined))) as u32;
        if anyone_waits && size.leaves_one_in > 0 && random.below(size.leaves_one_in) == 0 {
            person.fate = Fate::LeftSilently;
            people.push(person);
            continue;
        }
        let mut at = clock.max(i64::from(joined));
        while recent.len() >= size.limit as usize {
            at = at.max(recent.pop_front().unwrap() + i64::from(size.window_ms));
        }
        if at > i64::from(joined) || anyone_waits {
            anyone_waits = true;
            if at / i64::from(size.slot_ms) != slot {
                (slot, in_slot) = (at / i64::from(size.slot_ms), 0);
            }
            if in_slot >= quota {
                slot += 1;
                in_slot = 0;
                at = slot * i64::from(size.slot_ms);
            }
            in_slot += 1;
        }
        clock = at;
        recent.push_back(at);
        entries.push(at);
        if at < run_ms as i64 {
            person.admitted_server_ms = at;
            person.fate = Fate::Entered;
            person.entered_ms = if anyone_waits { at as u32 + 20 + random.below(60) } else { person.join_answered_ms };
            let real = person.entered_ms - person.join_answered_ms;
            person.first_estimate_ms = if anyone_waits { real + random.below(real / 8 + 1) - real / 16 } else { u32::MAX };
        }
        people.push(person);
    }
    people
}

fn trails(people: &[Person], size: &Size) -> Vec<Trail> {
    let picks = [35, 42, 52, 66, 83].map(|percent| people.len() * percent / 100);
    let trail = |i: &usize| {
        let person = people[*i];
        let end = if person.fate == Fate::Entered { person.entered_ms } else { size.seconds * 1_000 };
        let steps = (end - person.join_answered_ms.min(end)) / 3_000;
        let point = |k: u32| {
            let rank = person.first_rank.max(2) * (steps - k).max(1) / steps.max(1);
            (person.join_answered_ms + k * 3_000, rank.max(1), Some((steps - k) * 3_000))
        };
        Trail { person: *i as u32, points: (0..=steps).map(point).collect() }
    };
    picks.iter().map(trail).collect()
}

fn seconds(people: &[Person], size: &Size, random: &mut Random) -> Vec<Second> {
    let mut seconds = vec![Second::default(); size.seconds as usize];
    let second = |ms: u32| ((ms / 1_000) as usize).min(size.seconds as usize - 1);
    for person in people {
        seconds[second(person.join_sent_ms)].arrived += 1;
        if person.fate == Fate::Entered {
            seconds[second(person.entered_ms)].entered += 1;
        }
    }
    let mut waiting = 0_u64;
    for (i, s) in seconds.iter_mut().enumerate() {
        waiting = (waiting + s.arrived).saturating_sub(s.entered + s.arrived / 6);
        s.waiting = waiting;
        s.due = s.arrived + waiting / 6 + u64::from(random.below(40));
        s.answered = s.due;
        s.claimed = u64::from(random.below(30));
        s.p50_us = 400 + u64::from(random.below(150)) + s.due / 40;
        s.p99_us = s.p50_us * 4 + u64::from(random.below(2_000));
        s.max_us = s.p99_us * (2 + u64::from(random.below(6)));
        s.own_cpu_millicores = 120 + (s.due / 40) as u32 + random.below(60);
        if i % 47 == 20 {
            s.max_us *= 8;
        }
    }
    seconds
}

fn calls(seconds: &[Second], random: &mut Random) -> BTreeMap<Call, CallTotals> {
    let answered: u64 = seconds.iter().map(|s| s.answered).sum();
    let arrived: u64 = seconds.iter().map(|s| s.arrived).sum();
    let totals = |n: u64, random: &mut Random| {
        let mut latency_us = Histogram::new(3).unwrap();
        let mut service_us = Histogram::new(3).unwrap();
        for _ in 0..n.min(20_000) {
            let service = 300 + u64::from(random.below(900)) + if random.below(50) == 0 { u64::from(random.below(20_000)) } else { 0 };
            service_us.record(service).unwrap();
            latency_us.record(service + u64::from(random.below(400))).unwrap();
        }
        CallTotals { latency_us, service_us, outcomes: BTreeMap::from([("2xx".into(), n)]) }
    };
    let mut calls = BTreeMap::from([(Call::Wait, totals(arrived, random)), (Call::Entry, totals(answered - arrived, random))]);
    let mut claims = totals(40, random);
    claims.outcomes.insert("sold_out".into(), 310);
    calls.insert(Call::Claim, claims);
    calls
}

/// 40 units for users who may have two, of whom some confirmed, released, or were answered twice.
fn offer() -> Offer {
    let state = |i: u32| match i % 4 {
        0 => ClaimState::Held,
        1 | 2 => ClaimState::Confirmed,
        _ => ClaimState::Released,
    };
    let claim =
        |i: u32| Claim { id: format!("clm-{i:04}"), user: i / 2, quantity: 1, answered_ms: 100 * i, replayed: false, state: state(i) };
    let mut claims: Vec<Claim> = (0..40).map(claim).collect();
    claims.push(Claim { replayed: true, answered_ms: 9_000, ..claim(7) });
    let reread =
        (0..12).map(|i| (format!("clm-{i:04}"), state(i), Some(["held", "confirmed", "confirmed", "released"][i as usize % 4].into())));
    Offer {
        id: "summer-coupon".into(),
        quantity: 40,
        per_user_limit: Some(2),
        hold_ms: 300_000,
        claims,
        before: Some(Stock { quantity: 40, remaining: 40, held: 0, confirmed: 0 }),
        after: Some(Stock { quantity: 40, remaining: 10, held: 10, confirmed: 20 }),
        granted: vec![],
        reread: reread.collect(),
    }
}
