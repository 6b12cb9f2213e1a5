//! The server's processor and memory, from its `/metrics`, once a second on a connection and a thread of their own.

use crate::record::ServerSample;
use crate::target::Target;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Looks at `/metrics` until it is told to end.
pub struct Scrape {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    samples: Mutex<Vec<ServerSample>>,
}

impl Scrape {
    /// Begins. A server without these numbers has none: that is no failure.
    #[must_use]
    pub fn begin(target: &Target, clock: Instant) -> Self {
        let shared = Arc::new(Shared::default());
        let (mut client, looking) = (target.client(), shared.clone());
        std::thread::spawn(move || {
            let mut next = clock;
            while !looking.stop.load(Ordering::Relaxed) {
                let Ok(reply) = client.get("/metrics", &[]) else { break };
                let Some((cpu_seconds, resident_bytes)) = read(&String::from_utf8_lossy(&reply.body)) else { break };
                let sample = ServerSample { at_ms: clock.elapsed().as_millis() as u64, cpu_seconds, resident_bytes };
                looking.samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                next += EVERY;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { shared }
    }

    /// Ends; what was seen. A look that is under way is not waited for: the server may be what stands still.
    #[must_use]
    pub fn end(self) -> Vec<ServerSample> {
        self.shared.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut *self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Both numbers, from the text form of Prometheus.
fn read(text: &str) -> Option<(f64, u64)> {
    let number = |name: &str| {
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    Some((number("process_cpu_seconds_total")?, number("process_resident_memory_bytes")? as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_or_none() {
        let text = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total_not 1\nprocess_cpu_seconds_total 12.5\n\
            process_resident_memory_bytes 1.5e6\n";
        assert_eq!(read(text), Some((12.5, 1_500_000)));
        assert_eq!(read("process_cpu_seconds_total 12.5\n"), None);
    }
}
