//! What must be true of any report. How it looks, only eyes can tell: `BUNHO_REPORT=/tmp/report.html cargo test -p bunho-load report`
//! writes one to look at.

use super::render;
use crate::judge::sample::{self, SMALL, Size};
use crate::judge::{Outcome, judge};
use crate::record::{Published, Record, Trail};

/// Of the size that the headline has.
const RUSH: Size = Size { people: 100_000, seconds: 160, limit: 30_000, window_ms: 60_000, slot_ms: 6_000, leaves_one_in: 5 };

const CHARTS: [&str; 9] = [
    "chart-traffic",
    "chart-latency",
    "chart-crowd",
    "chart-ranks",
    "chart-admissions",
    "chart-window",
    "chart-claims",
    "chart-cpu",
    "chart-memory",
];

fn page(record: &Record) -> String {
    let html = render(record, &judge(record));
    check_well_formed(&html);
    html
}

/// Every tag that is opened is closed, in order, and nothing outside is asked for.
fn check_well_formed(html: &str) {
    const EMPTY: [&str; 2] = ["meta", "path"];
    let outside = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for word in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!outside.contains(word), "{word} in the page");
    }
    let mut open: Vec<&str> = vec![];
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.starts_with('!') {
            continue;
        }
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order: {}", &rest[..40.min(rest.len())]);
        } else if !EMPTY.contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
        // What is inside of these is not markup.
        if let "script" | "style" = tag.split(' ').next().unwrap() {
            rest = &rest[rest.find("</").expect("it ends")..];
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[test]
fn a_full_run_has_every_chart() {
    let html = page(&sample::right(&SMALL));
    for id in CHARTS {
        assert!(html.contains(&format!("<figure id=\"{id}\"")), "{id} is missing");
        assert!(html.contains(&format!("<title id=\"{id}-t\">")) && html.contains(&format!("<desc id=\"{id}-d\">")), "{id} says nothing");
    }
    for part in ["11 promises judged, all held.", "36.48 ms", "2026-01-01 00:00:00 UTC", "limit: 200", "Machine of the generator"] {
        assert!(html.contains(part), "{part:?} is missing");
    }
    assert!(!html.contains("NaN") && !html.contains("inf"), "a number that is none");
}

#[test]
fn a_rush_of_a_hundred_thousand_is_drawn() {
    let mut record = sample::right(&RUSH);
    if std::env::var("BUNHO_REPORT_BROKEN").is_ok() {
        record.zones[0].limit = Some(29_990);
        record.zones[0].people[7].rank_rose = true;
        record.offers[0].reread.clear();
    }
    let html = page(&record);
    assert!(html.len() < 600_000, "{} bytes", html.len());
    if let Ok(path) = std::env::var("BUNHO_REPORT") {
        std::fs::write(path, html).unwrap();
    }
}

#[test]
fn hours_are_drawn_with_few_points() {
    let html = page(&sample::right(&Size { seconds: 7_200, ..SMALL }));
    let points = |line: &str| line.matches(['L', 'M']).count();
    let most = html.split("<path ").map(|path| points(path.split('>').next().unwrap_or(""))).max().unwrap();
    // Two more close an area.
    assert!((100..=402).contains(&most), "{most} points");
    assert!(html.contains("Each point stands for 18 s."));
}

#[test]
fn nothing_that_was_said_becomes_markup() {
    let evil = "</script><script>alert(1)</script>";
    let mut record = sample::right(&SMALL);
    record.title = evil.into();
    record.settings.push((evil.into(), evil.into()));
    record.published.push(Published { name: evil.into(), published: evil.into(), today: evil.into() });
    record.faults.insert(evil.into(), 1);
    record.zones[0].id = evil.into();
    record.zones[0].people[3].rank_rose = true;
    record.offers[0].id = evil.into();
    record.offers[0].reread[1].2 = None;
    record.end = crate::record::End::GaveUp(evil.into());
    let html = page(&record);
    assert!(!html.contains("<script>alert") && html.contains("&lt;script&gt;alert"));
}

#[test]
fn what_is_broken_stands_first() {
    let mut record = sample::right(&SMALL);
    record.zones[0].people[7].rank_rose = true;
    let html = page(&record);
    let (badge, case) = (html.find("1 of 11 promises BROKEN.").unwrap(), html.find("person 7 of zone main-gate").unwrap());
    assert!(badge < case && case < html.find("<figure").unwrap());
}

#[test]
fn runs_without_much_in_them_are_drawn_too() {
    let mut record = sample::right(&SMALL);
    record.trails = vec![Trail { person: 9_999_999, points: vec![(500, 9, None), (900, 8, None)] }, Trail { person: 0, points: vec![] }];
    (record.server, record.offers) = (vec![], vec![]);
    record.zones[0].limit = None;
    let html = page(&record);
    assert!(
        !html.contains("chart-memory") && !html.contains("chart-window") && !html.contains("chart-claims") && html.contains("chart-ranks")
    );
    (record.zones, record.calls, record.seconds, record.elapsed_ms) = (vec![], [].into(), vec![], 0);
    record.settings.clear();
    let html = page(&record);
    assert!(!html.contains("<figure") && judge(&record).iter().all(|verdict| matches!(verdict.outcome, Outcome::NotJudged(_))));
}
