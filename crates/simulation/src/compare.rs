//! With everything at rest: engine, journal, ledger and history must say the same.

use crate::history::ensure;
use crate::machine::{Finding, said};
use crate::world::World;
use bunho_ledger::reconcile::{Reconciliation, Repair};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row, SqliteConnection};
use std::collections::BTreeMap;

impl World {
    pub(crate) fn compare(&mut self) -> Result<(), Finding> {
        let Some(node) = &mut self.node else { return Ok(()) };
        let runtime = &self.machine.runtime;
        while *node.ledger.projected().borrow() < node.journal.durable() {
            let before = *node.ledger.projected().borrow();
            runtime.block_on(node.projector.step(None)).map_err(said("project"))?;
            ensure!(*node.ledger.projected().borrow() > before, "the projector stands still at {before} of {}", node.journal.durable());
        }
        let (durable, last) = (node.journal.durable(), node.journal.last());
        ensure!(durable == last && durable == self.history.offset, "at rest {durable} of {last} are durable, {} safe", self.history.offset);
        ensure!(node.projector.parked() == 0, "{} events are parked", node.projector.parked());
        self.history.check_grants()?;
        // The engine's clock is between these two.
        let (least_ms, most_ms) = (self.machine.now_ms(), self.history.clock_max);
        self.history.offers.values().try_for_each(|offer| offer.check_nothing_due(least_ms, most_ms))?;
        let node = &*node;
        let report = runtime.block_on(async {
            let mut reconciliation = Reconciliation::new(&node.ledger, Repair::No);
            for number in node.engine.offer_numbers().await.unwrap_or_default() {
                let claims = |after, most| node.claims_after(number, after, most);
                reconciliation.offer(number, claims).await?;
            }
            reconciliation.finish().await
        });
        let report = report.map_err(said("reconcile"))?;
        ensure!(report.is_equal(), "engine and ledger differ: {report:?}");
        let claims: usize = self.history.offers.values().filter(|offer| !offer.deleted).map(|offer| offer.claims.len()).sum();
        ensure!(report.compared == claims as u64, "{} claims were compared of {claims}", report.compared);
        runtime.block_on(self.count_rows())
    }

    /// As anybody with a shell would count.
    async fn count_rows(&self) -> Result<(), Finding> {
        let options = SqliteConnectOptions::new().filename(self.machine.ledger_path()).read_only(true);
        let mut shell = SqliteConnection::connect_with(&options).await.map_err(said("open a shell"))?;
        let select = "SELECT offer_number, status, count(*), sum(quantity) FROM claims GROUP BY 1, 2";
        let rows = sqlx::query(select).fetch_all(&mut shell).await.map_err(said("count"))?;
        let mut counted: BTreeMap<u32, BTreeMap<String, (u64, u64)>> = BTreeMap::new();
        for row in &rows {
            let (number, status): (u32, String) = (row.get(0), row.get(1));
            let (claims, units): (i64, i64) = (row.get(2), row.get(3));
            counted.entry(number).or_default().insert(status, (claims.cast_unsigned(), units.cast_unsigned()));
        }
        for (number, offer) in &self.history.offers {
            let expected: BTreeMap<String, (u64, u64)> = offer.counts().into_iter().map(|(word, count)| (word.to_owned(), count)).collect();
            let rows = counted.remove(number).unwrap_or_default();
            ensure!(rows == expected, "offer {}: the ledger counts {rows:?}, there are {expected:?}", offer.settings.id);
        }
        ensure!(counted.is_empty(), "the ledger has claims of offers that never were: {counted:?}");
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM standby WHERE status = 'waiting'")
            .fetch_one(&mut shell)
            .await
            .map_err(said("count"))?;
        let expected: usize = self.history.offers.values().map(|offer| offer.waiting.len()).sum();
        ensure!(waiting == expected as i64, "{waiting} wait in the ledger, {expected} do");
        shell.close().await.map_err(said("close a shell"))
    }
}
