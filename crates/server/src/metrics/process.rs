//! What Prometheus wants to know of any process, under its own names. Written by hand, since counters of the recorder are whole numbers: a node
//! that is a third busy would show no processor time for two seconds and then a full one.

use super::names::{Kind, Name, Whose};
use super::sheet::Sheet;
use metrics_process::collector;

const CPU: Name = name("process_cpu_seconds_total", Kind::Counter, "seconds", "Total user and system CPU time spent in seconds.");
const OPEN_FDS: Name = name("process_open_fds", Kind::Gauge, "descriptors", "Number of open file descriptors.");
const MAX_FDS: Name = name("process_max_fds", Kind::Gauge, "descriptors", "Maximum number of open file descriptors.");
const VIRTUAL: Name = name("process_virtual_memory_bytes", Kind::Gauge, "bytes", "Virtual memory size in bytes.");
const VIRTUAL_MAX: Name =
    name("process_virtual_memory_max_bytes", Kind::Gauge, "bytes", "Maximum amount of virtual memory available in bytes.");
const RESIDENT: Name = name("process_resident_memory_bytes", Kind::Gauge, "bytes", "Resident memory size in bytes.");
const START: Name = name("process_start_time_seconds", Kind::Gauge, "seconds", "Start time of the process since unix epoch in seconds.");
const THREADS: Name = name("process_threads", Kind::Gauge, "threads", "Number of OS threads in the process.");

const fn name(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Name {
    Name { name, kind, labels: &[], unit, whose: Whose::Node, help }
}

/// What the system does not tell has no sample.
pub(super) fn write(sheet: &mut Sheet) {
    let read = collector::collect();
    sheet.all(&CPU, read.cpu_seconds_total.map(none));
    for (name, value) in [
        (&OPEN_FDS, read.open_fds),
        (&MAX_FDS, read.max_fds),
        (&VIRTUAL, read.virtual_memory_bytes),
        (&VIRTUAL_MAX, read.virtual_memory_max_bytes),
        (&RESIDENT, read.resident_memory_bytes),
        (&START, read.start_time_seconds),
        (&THREADS, read.threads),
    ] {
        sheet.all(name, value.map(none));
    }
}

/// A sample without labels.
fn none<T>(value: T) -> ([&'static str; 0], T) {
    ([], value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn processor_time_has_fractions() {
        let spent = || {
            let mut sheet = Sheet::after(String::new());
            write(&mut sheet);
            let text = sheet.finish();
            for line in ["# TYPE process_cpu_seconds_total counter", "# TYPE process_resident_memory_bytes gauge", "process_open_fds "] {
                assert!(text.contains(line), "{line} is not in\n{text}");
            }
            let sample = text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total ")).expect("a sample");
            sample.parse::<f64>().expect("a number")
        };
        let (first, began) = (spent(), Instant::now());
        let mut seen = vec![first];
        // Ticks are hundredths of a second: work is seen in steps of less than a second, though not in all of them when other tests work too.
        while seen.len() < 5 {
            assert!(began.elapsed() < Duration::from_secs(60), "{seen:?}");
            let now = spent();
            if now > seen[seen.len() - 1] {
                seen.push(now);
            }
        }
        assert!(seen.windows(2).any(|step| step[1] - step[0] < 1.0) && seen.iter().any(|time| time.fract() > 0.0), "{seen:?}");
    }
}
