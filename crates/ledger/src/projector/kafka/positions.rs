//! How far each partition of the topic is projected: rows of `projector_offsets`, one a partition, which move in the transaction of what they
//! are about.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::multi_row::Kind::{Long, Text};
use crate::projector::multi_row::{Conflict, MultiRow, Parts};
use crate::rows::Columns;
use crate::sql::{Binder, Connection, Row, query};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The offset of the first record that is not applied yet, by partition.
pub(crate) type Positions = BTreeMap<i32, i64>;

/// Rows' names begin so; then comes the partition in five digits, so that names sort as partitions do.
const PREFIX: &str = "partition-";
/// Pauses between two looks at how far others have come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const ALL: &str = r#"SELECT name, "offset" FROM projector_offsets WHERE name LIKE 'partition-%' ORDER BY name"#;

static BEGUN: MultiRow = MultiRow::insert("projector_offsets", &[("name", Text), (r#""offset""#, Long)], Conflict::Keep { key: "name" });

static MOVED: MultiRow = MultiRow::insert(
    "projector_offsets",
    &[("name", Text), (r#""offset""#, Long)],
    Conflict::Replace { key: "name", columns: &[r#""offset""#], newer: Some((r#""offset""#, ">")) },
);

/// In the order of names: members that meet wait for each other, and none for itself.
static LOCKED: MultiRow = MultiRow::select(
    Parts { head: r#"SELECT name, "offset" FROM projector_offsets WHERE name IN ("#, row: "?", between: ",", tail: ")" },
    r#"SELECT name, "offset" FROM projector_offsets WHERE name = ANY($1) ORDER BY name FOR UPDATE"#,
    Parts {
        head: r#"SELECT name, "offset" FROM projector_offsets WHERE name IN ("#,
        row: "?",
        between: ",",
        tail: ") ORDER BY name FOR UPDATE",
    },
);

impl Ledger {
    /// How far each partition is projected, by whichever node: the offset of the first record that is not in the tables.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn positions(&self) -> Result<BTreeMap<i32, i64>, LedgerError> {
        read(&mut self.reader().await?.connection()).await
    }

    /// Waits until every partition is projected up to these positions. False: not within this time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn reached(&self, wanted: &BTreeMap<i32, i64>, within: Duration) -> Result<bool, LedgerError> {
        let end = Instant::now() + within;
        loop {
            let positions = self.positions().await?;
            if wanted.iter().all(|(partition, wanted)| positions.get(partition).copied().unwrap_or(0) >= *wanted) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY.min(left)).await;
        }
    }
}

pub(super) async fn read(connection: &mut Connection<'_>) -> Result<Positions, LedgerError> {
    let rows = query(ALL).fetch_all(connection).await.map_err(LedgerError::sql("read how far partitions are projected"))?;
    rows.iter().map(position).collect()
}

/// Makes the rows of these partitions where they are missing, so that there is something to lock.
pub(super) async fn begin(connection: &mut Connection<'_>, partitions: &[i32]) -> Result<(), LedgerError> {
    let rows: Vec<(i32, i64)> = partitions.iter().map(|partition| (*partition, 0)).collect();
    BEGUN.write(connection, &rows, bind).await.map(drop).map_err(LedgerError::sql("begin to project partitions"))
}

/// Reads these partitions' positions, ascending; from here on nobody else projects them until the transaction ends.
pub(super) async fn lock(connection: &mut Connection<'_>, partitions: &[i32]) -> Result<Positions, LedgerError> {
    let bind = |partition: &i32, binder: &mut Binder| {
        binder.shown(name(*partition));
    };
    let rows = LOCKED.read(connection, partitions, bind).await.map_err(LedgerError::sql("lock how far partitions are projected"))?;
    rows.iter().map(position).collect()
}

pub(super) async fn write(connection: &mut Connection<'_>, positions: &Positions) -> Result<(), LedgerError> {
    let rows: Vec<(i32, i64)> = positions.iter().map(|(partition, position)| (*partition, *position)).collect();
    MOVED.write(connection, &rows, bind).await.map(drop).map_err(LedgerError::sql("write how far partitions are projected"))
}

fn bind(&(partition, position): &(i32, i64), binder: &mut Binder) {
    binder.shown(name(partition)).value(position);
}

fn name(partition: i32) -> String {
    format!("{PREFIX}{partition:05}")
}

fn position(row: &Row) -> Result<(i32, i64), LedgerError> {
    let mut columns = Columns::of(row, "projector_offsets");
    let partition = columns.parsed("name", |name| name.strip_prefix(PREFIX)?.parse().ok())?;
    Ok((partition, columns.take()?))
}
