//! The end of the report: which strategy is enough for whom. Figures in it are this run's; where it has none the words stand alone.

use super::{Report, rates};
use crate::strategy::Strategy;
use bunho_load::judge::wording::count;

/// What the source documents measured, on machines of theirs.
pub const PUBLISHED: [[&str; 3]; 9] = [
    ["000", "read, decide, write from several threads", "6 of 10 places left after five bookings of two that should have left 0"],
    ["001", "lock in Redis, write-through", "164.5 TPS"],
    ["001", "lock in Redis, write-back", "209.7 TPS"],
    ["001", "Lua and write-back, no lock", "431.2 TPS"],
    ["003", "pessimistic lock", "1,400 TPS, 60 % of the database's CPU"],
    ["003", "optimistic lock", "1,800 TPS, 70 % of the database's CPU"],
    ["003", "distributed lock", "200 to 250 TPS, 30 % of the database's CPU, mean answer 5,000 ms"],
    ["003", "Lua", "4,500 to 5,000 TPS"],
    ["003", "Lua and Kafka", "at most 5,200 TPS, 50 % of the database's CPU, mean answer 150 ms"],
];

/// Questions and answers.
pub(super) fn guide(report: &Report) -> Vec<(&'static str, String)> {
    let measured = |strategy: Strategy| {
        let plain = report.cells.iter().filter(|cell| cell.strategy == strategy && cell.killed.is_none());
        let rates: Vec<String> = plain.map(|cell| format!("{} on {}", count(rates(cell)[1].round() as u64), cell.database)).collect();
        if rates.is_empty() { String::new() } else { format!(" (accepted a second here: {})", rates.join(", ")) }
    };
    vec![
        (
            "Is a lock needed at all?",
            format!(
                "Not one that you write. A conditional update{} is a lock that the database holds for the shortest possible time; a row lock{} or an \
                 advisory lock{} is as right, and holds longer. A lock in Redis around SQL{} has the most round trips, and is the only one of \
                 these that can be wrong: its lease can end while its holder works.",
                measured(Strategy::Conditional),
                measured(Strategy::Pessimistic),
                measured(Strategy::Advisory),
                measured(Strategy::LockWriteThrough),
            ),
        ),
        (
            "Is a cache needed at all?",
            format!(
                "Not to be right, and for one offer hardly to be fast: the database answers a look at one row from memory. Look-aside{} pays where most attempts \
                 come after everything is gone, since their “no” then costs the database nothing. As the place where the decision is made, a cache is a \
                 database without the promises of one.",
                measured(Strategy::LookAside),
            ),
        ),
        (
            "One database, up to some hundred orders a second:",
            "the conditional update and a unique index on (offer, user). Two statements, nothing to operate, nothing to lose. Stop here if this is you; the \
             rest of this page costs more than it gives."
                .into(),
        ),
        (
            "One database, and one row is too hot:",
            format!(
                "a row for each unit with SKIP LOCKED{}: buyers no longer wait for one another. Its price is a table as long as the stock, and a search in it \
                 that grows with what has been sold.",
                measured(Strategy::SkipLocked),
            ),
        ),
        (
            "Optimistic versions:",
            format!(
                "for things that are seldom wanted by two at once: a profile, a document. For a drop{} they do the work many times over, and may give up on some.",
                measured(Strategy::Optimistic),
            ),
        ),
        (
            "More than the database commits in a second:",
            format!(
                "a script in Redis decides, and Kafka has acknowledged before anybody is told{}. Not awaiting it{} is faster by what is lost when the process \
                 dies. Either way Redis is now the one that knows what is left: if it comes back with less than it had, it sells again, and what was taken by \
                 a process that died stays taken. Plan for both: rebuild its state from SQL and the topic before it sells again.",
                measured(Strategy::LuaKafkaAwaited),
                measured(Strategy::LuaKafkaUnawaited),
            ),
        ),
        (
            "When that planning is what you would rather not do:",
            format!(
                "it is what Bunho is. One node{} for what one machine can carry; the cluster{} where no machine may be missed. If the conditional update is \
                 enough for you, it is enough: Bunho's line, holds and standby may still be reasons, speed is not.",
                measured(Strategy::BunhoEmbedded),
                measured(Strategy::BunhoCluster),
            ),
        ),
    ]
}
