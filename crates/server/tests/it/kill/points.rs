//! Every named point of the sources but those of the cluster (crates/server/tests/cluster/faults/points.rs), of forgetting (crates/server/tests/it/forget.rs) and of webhooks
//! (webhooks/kills.rs), and what leads there. A test holds this table to the sources, so no point is forgotten;
//! a full run strikes each of them.

use crate::harness::points_of_the_sources;
use std::collections::BTreeSet;

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Edit,
    Create,
    Delete,
    EditZone,
    CreateZone,
    DeleteZone,
    ResetZone,
    MakeKey,
    RevokeKey,
    MakeAccount,
    RemoveAccount,
    MakePassKey,
    DropPassKey,
}

/// What leads to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Claims, standby and the line, all at once.
    Crowd,
    /// The same, with an operator who does this more than anything else.
    Operator(Deed),
    /// The same, while answers wait for the ledger.
    LedgerAck,
    /// SIGTERM in the middle of it.
    Drain,
    /// The journal fails to sync in the middle of it.
    Failing,
    /// A start of the folder, with its long history.
    Start,
    /// The start after a kill in the crowd: the ledger is behind the journal.
    Restart,
    /// The start after the journal failed.
    Mending,
    /// A start on an empty folder, with the demo.
    FirstStart,
    /// `bunho rebuild`.
    Rebuild,
    /// A reconciliation that has something to repair.
    Repair,
}

/// A point.
#[derive(Debug)]
pub struct Point {
    pub name: &'static str,
    /// The ways there; each is as good.
    pub reach: &'static [Reach],
    /// It is struck at one of its first so many passings.
    pub most: u64,
}

const fn point(name: &'static str, reach: &'static [Reach], most: u64) -> Point {
    Point { name, reach, most }
}

use Deed::{
    Create, CreateZone, Delete, DeleteZone, DropPassKey, Edit, EditZone, MakeAccount, MakeKey, MakePassKey, RemoveAccount, ResetZone,
    RevokeKey,
};
use Reach::{Crowd, Drain, Failing, FirstStart, LedgerAck, Mending, Operator, Rebuild, Repair, Restart, Start};

/// All of them, in the order of a record's life.
pub const POINTS: &[Point] = &[
    // A decision.
    point("engine::offer_settled", &[Crowd], 6),
    point("engine::offer_decided", &[Crowd], 80),
    point("engine::offer_recorded", &[Crowd], 80),
    point("engine::grant_recorded", &[Crowd], 6),
    point("engine::offer_created", &[Operator(Create)], 3),
    point("engine::offer_redefined", &[Operator(Edit)], 4),
    point("engine::offer_deleted", &[Operator(Delete)], 2),
    point("engine::joined", &[Crowd], 20),
    point("engine::polled", &[Crowd], 120),
    point("engine::left", &[Crowd], 4),
    point("engine::zone_decided", &[Crowd], 20),
    point("engine::zone_recorded", &[Crowd], 20),
    point("engine::zone_created", &[Operator(CreateZone)], 2),
    point("engine::zone_redefined", &[Operator(EditZone), Operator(ResetZone)], 3),
    point("engine::zone_deleted", &[Operator(DeleteZone)], 2),
    point("engine::reservation_recorded", &[Operator(ResetZone), Operator(CreateZone)], 2),
    point("engine::reservation_taken", &[Operator(ResetZone), Operator(CreateZone)], 2),
    point("engine::ticked", &[Crowd], 6),
    point("engine::swept", &[Crowd], 12),
    // Its record.
    point("journal::taken", &[Crowd], 60),
    point("journal::chunk_written", &[Crowd], 60),
    point("journal::synced", &[Crowd], 60),
    point("journal::landed", &[Crowd], 60),
    point("journal::acknowledged", &[Crowd], 60),
    // Its answer.
    point("engine::durable", &[Crowd], 80),
    point("engine::projected", &[LedgerAck], 40),
    point("http::before_answer", &[Crowd], 300),
    // Its rows.
    point("projector::counted", &[Crowd], 1),
    point("projector::read", &[Crowd], 6),
    point("projector::begun", &[Crowd], 6),
    point("projector::offers", &[Crowd], 6),
    point("projector::claims", &[Crowd], 6),
    point("projector::history", &[Crowd], 6),
    point("projector::standby", &[Crowd], 6),
    point("projector::zones", &[Crowd], 6),
    point("projector::tickets", &[Crowd], 6),
    point("projector::pruned", &[Crowd], 6),
    point("projector::webhooks", &[Crowd], 6),
    point("projector::applied", &[Crowd], 6),
    point("projector::committed", &[Crowd], 6),
    point("projector::entered", &[Crowd], 6),
    point("projector::published", &[Crowd], 6),
    // Its end in the journal.
    point("journal::trim_announced", &[Drain], 1),
    point("journal::trimmed", &[Drain], 1),
    // Stopping.
    point("serve::told_to_end", &[Drain], 1),
    point("serve::drained", &[Drain], 1),
    point("journal::closing", &[Drain], 1),
    point("node::journal_closed", &[Drain], 1),
    point("node::tasks_ended", &[Drain], 1),
    point("node::closed", &[Drain], 1),
    // A journal that fails, and what its next start does about it.
    point("journal::before_write", &[Failing], 40),
    point("journal::after_write", &[Failing], 40),
    point("journal::sync", &[Failing], 40),
    point("journal::marker_written", &[Failing], 1),
    point("journal::marker_placed", &[Failing], 1),
    point("journal::marked", &[Failing], 1),
    point("journal::kept_copied", &[Mending], 1),
    point("journal::new_store_complete", &[Mending, Rebuild], 1),
    point("journal::old_store_away", &[Mending, Rebuild], 1),
    point("journal::new_store_in_place", &[Mending, Rebuild], 1),
    point("journal::marker_removed", &[Mending, Rebuild], 1),
    // Starting.
    point("journal::locked", &[Start], 1),
    point("journal::store_synced", &[Start], 1),
    point("journal::store_opened", &[Start], 1),
    point("journal::room_kept", &[Start], 1),
    point("node::journal_open", &[Start, FirstStart], 1),
    point("ledger::opened", &[Start, FirstStart], 1),
    point("ledger::migrated", &[Start, FirstStart], 1),
    point("node::ledger_open", &[Start, FirstStart], 1),
    point("ledger::zones_loaded", &[Start], 1),
    point("ledger::claims_loaded", &[Start], 1),
    point("ledger::loaded", &[Start], 1),
    point("engine::replay_read", &[Restart], 1),
    point("node::replayed", &[Start], 1),
    point("engine::recovered", &[Start], 1),
    point("node::alive", &[Start, FirstStart], 1),
    point("serve::keys_ensured", &[Start, FirstStart], 1),
    point("serve::bound", &[Start, FirstStart], 1),
    // The first start.
    point("secrets::file_made", &[FirstStart], 3),
    point("secrets::file_written", &[FirstStart], 3),
    point("secrets::file_placed", &[FirstStart], 3),
    point("secrets::admin_key_written", &[FirstStart], 1),
    point("secrets::admin_key_added", &[FirstStart], 1),
    point("demo::offer_added", &[FirstStart], 7),
    // Keys.
    point("ledger::key_inserted", &[Operator(MakeKey), FirstStart], 1),
    point("ledger::key_revoked", &[Operator(RevokeKey)], 1),
    point("admin::key_made", &[Operator(MakeKey)], 1),
    point("admin::key_revoked", &[Operator(RevokeKey)], 1),
    point("ledger::account_inserted", &[Operator(MakeAccount)], 1),
    point("ledger::account_removed", &[Operator(RemoveAccount)], 1),
    point("admin::account_made", &[Operator(MakeAccount)], 1),
    point("admin::account_removed", &[Operator(RemoveAccount)], 1),
    point("admin::pass_key_made", &[Operator(MakePassKey)], 1),
    point("admin::pass_key_dropped", &[Operator(DropPassKey)], 1),
    // Mending by hand.
    point("rebuild::caught_up", &[Rebuild], 1),
    point("journal::reset_written", &[Rebuild], 1),
    point("rebuild::restored", &[Rebuild], 1),
    point("ledger::repaired", &[Repair], 1),
];

#[test]
fn every_point_of_the_sources_is_in_the_table() {
    let mut sources = points_of_the_sources();
    sources.retain(|name| !["cluster::", "forget::", "retention::", "webhooks::"].iter().any(|others| name.starts_with(others)));
    let table: BTreeSet<String> = POINTS.iter().map(|point| point.name.to_string()).collect();
    assert_eq!(table.len(), POINTS.len(), "no point is there twice");
    assert_eq!(table, sources, "the table and the sources name the same points");
}
