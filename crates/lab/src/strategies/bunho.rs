//! The real server, called as any client would: over HTTP, with a key for each attempt, and again with the same key where it says that it does not know.

use super::{Failure, World};
use std::time::{Duration, Instant};

/// How long an answer is sought.
const SOUGHT: Duration = Duration::from_secs(45);

pub async fn claim(world: &World, user: i64, attempt: usize) -> Result<bool, Failure> {
    let url = format!("{}/v1/offers/lab/claims", world.job.bunho);
    let began = Instant::now();
    loop {
        let call = world
            .http
            .post(&url)
            .header("x-bunho-user", user.to_string())
            .header("idempotency-key", format!("attempt-{attempt}"))
            .header("content-type", "application/json")
            .body("{\"quantity\":1}")
            .send();
        // A broken connection and a 503 are the same to a client: nobody knows, ask again.
        let status = call.await.ok().map(|answer| answer.status().as_u16());
        match status {
            Some(200 | 201) => return Ok(true),
            Some(409) => return Ok(false),
            None | Some(503 | 429) if began.elapsed() < SOUGHT => tokio::time::sleep(Duration::from_millis(100)).await,
            other => return Err(Failure::Other(format!("Bunho answers {other:?}"))),
        }
    }
}
