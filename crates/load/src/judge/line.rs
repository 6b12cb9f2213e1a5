//! What each person in line was told, one by one: ranks, admissions, tickets.

use super::wording::{counted, person, seconds};
use super::{Trial, Verdict};
use crate::record::{Fate, Person, Record};

pub(super) fn ranks_never_rise(record: &Record) -> Verdict {
    let trial = Trial::new("ranks_never_rise", "A rank that was shown never rises");
    every_person(record, trial, "nobody saw the rank rise", |p| {
        p.rank_rose.then(|| format!("joined at {}, first shown rank {}", seconds(p.join_sent_ms.into()), p.first_rank))
    })
}

pub(super) fn answers_stand(record: &Record) -> Verdict {
    let trial = Trial::new("admissions_stand", "A ticket that was let in stays so, with the same pass");
    every_person(record, trial, "none was contradicted", |p| {
        (p.contradictions > 0).then(|| format!("joined at {}, contradicted {} times", seconds(p.join_sent_ms.into()), p.contradictions))
    })
}

pub(super) fn nobody_lost(record: &Record) -> Verdict {
    let trial = Trial::new("nobody_lost", "Nobody who polls as told loses the place");
    every_person(record, trial, "nobody was told that the ticket is gone", |p| {
        (p.fate == Fate::Lost)
            .then(|| format!("joined at {}, polled as told, told that the ticket is gone", seconds(p.join_sent_ms.into())))
    })
}

fn every_person(record: &Record, mut trial: Trial, held: &str, fault: impl Fn(&Person) -> Option<String>) -> Verdict {
    let mut people = 0;
    for zone in &record.zones {
        people += zone.people.len() as u64;
        for (i, p) in zone.people.iter().enumerate() {
            if let Some(words) = fault(p) {
                trial.case(|| format!("{}: {words}", person(zone, i)));
            }
        }
    }
    if people == 0 {
        return trial.not_judged("nobody stood in a line", String::new());
    }
    let figures = match trial.cases_total {
        0 => format!("Of {} {held}.", counted(people, "person", "people")),
        n => format!("{} of {}.", counted(n, "case", "cases"), counted(people, "person", "people")),
    };
    trial.value("people", people as f64);
    trial.value("offending", trial.cases_total as f64);
    trial.judged(figures)
}
