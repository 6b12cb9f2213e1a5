//! Databases that die, pause or cannot be reached.

use crate::backend::{Backend, Server, new_database};
use crate::projecting::sale;
use crate::world::World;
use bunho_ledger::{Ledger, LedgerError, Place, Projector};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything here is over long before this.
const LONG: Duration = Duration::from_secs(90);

/// How long a database stands still: longer than any statement takes, shorter than what a pool waits for.
const PAUSE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_and_comes_back() {
    goes_on_after(Backend::Postgres, kill_and_start_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_is_killed_and_comes_back() {
    goes_on_after(Backend::MariaDb, kill_and_start_again).await;
}

/// Of PostgreSQL only the process that takes connections would stand still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_stands_still_for_a_while() {
    goes_on_after(Backend::MariaDb, |server: &Server| server.pause(PAUSE)).await;
}

fn kill_and_start_again(server: &Server) {
    server.kill();
    server.restart();
}

/// Something happens to the database while a projector writes; in the end every row is there once.
async fn goes_on_after(backend: Backend, happens: impl Fn(&Server) + Clone + Send + 'static) {
    let server = Arc::new(tokio::task::spawn_blocking(move || Server::start(backend)).await.expect("started"));
    let new_world = async || World::at(tempfile::tempdir().expect("a folder"), &new_database(&server.url).await).await;
    let (hit, whole) = (new_world().await, new_world().await);
    let events = sale(3_000);
    whole.happened(events.clone()).await;
    whole.projected().await;

    let projector = Arc::new(Projector::new(hit.ledger.clone(), hit.journal.clone()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let projector = projector.clone();
        async move { projector.run(async { drop(stopped.await) }).await }
    });
    for (step, events) in events.chunks(events.len() / 30).enumerate() {
        hit.happened(events.to_vec()).await;
        if step % 10 == 5 {
            let (server, happens) = (server.clone(), happens.clone());
            let fault = tokio::task::spawn_blocking(move || happens(&server));
            // The journal goes on meanwhile.
            hit.happened(std::iter::empty()).await;
            fault.await.expect("it happened");
        }
    }
    let target = hit.journal.durable();
    tokio::time::timeout(LONG, hit.ledger.projected().wait_for(|&offset| offset >= target)).await.expect("in time").expect("projected");
    drop(stop);
    running.await.expect("it ends");
    assert!(projector.healthy());
    assert_eq!(projector.parked(), 0);
    assert_eq!(hit.everything().await, whole.everything().await);
}

/// Nothing listens on port 1.
#[tokio::test]
async fn what_cannot_be_reached_is_said_in_time() {
    for url in ["postgres://bunho@127.0.0.1:1/bunho", "mysql://bunho@127.0.0.1:1/bunho"] {
        let begin = Instant::now();
        let refused = Ledger::open(&Place::parse(url).expect("a place")).await.map(drop);
        assert!(matches!(refused, Err(LedgerError::Unreachable { .. })), "{refused:?}");
        assert!(begin.elapsed() < LONG / 3, "{:?}", begin.elapsed());
    }
}
