//! The log: lines on standard error that nobody waits for.
//!
//! A line is put into a bounded queue and written by a thread of its own. Where the queue is full, since nobody reads the pipe or the disk
//! behind it hangs, the line is dropped and counted. That thread writes to a descriptor of its own: a panic's message, or the
//! last words of the process, must not wait for a lock that it holds. For the same reason panics are lines of the log too.
//!
//! One event is one line, whatever is in it: line breaks and other control characters in what clients sent are written as escapes, so
//! nobody can forge a line or colour a terminal.

use crate::config::Refused;
use crate::exit::Failure;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Lines that may wait. At some 200 bytes each that is a megabyte and a half.
const LINES_MAX: usize = 8_192;
/// How long the end of the process waits for lines to be written.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Lines that found no place, or could not be written.
static DROPPED: AtomicU64 = AtomicU64::new(0);
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static LINES: OnceLock<SyncSender<Line>> = OnceLock::new();

/// Lines that found no place, or could not be written.
pub(crate) fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Writes what still waits when it is dropped, for as long as that takes no more than a second.
#[must_use]
pub(crate) struct Log(());

impl Drop for Log {
    fn drop(&mut self) {
        flush(FLUSH_MAX);
    }
}

/// Sets the log up, for the whole process.
///
/// # Errors
/// The level is none, or there is a log already.
pub(crate) fn start(json: bool, level: &str) -> Result<Log, Failure> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    // Standard output is for the lines that scripts wait for.
    let stderr = io::stderr();
    let colours = stderr.is_terminal();
    let out = File::from(stderr.as_fd().try_clone_to_owned().map_err(Failure::internal)?);
    let (lines, queue) = sync_channel(LINES_MAX);
    std::thread::Builder::new().name("log".into()).spawn(move || write(out, &queue)).map_err(Failure::internal)?;
    let form = match (json, colours) {
        (true, _) => Form::Json,
        (false, true) => Form::Colours,
        (false, false) => Form::Text,
    };
    let sink = Sink { lines: lines.clone(), form };
    let layer = tracing_subscriber::fmt::layer().with_writer(sink).with_ansi(colours);
    let layer = if json { layer.json().boxed() } else { layer.boxed() };
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(Failure::internal)?;
    let _ = LEVEL.set(handle);
    let _ = LINES.set(lines);
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, backtrace, "a thread panicked: {}", panic.payload_as_str().unwrap_or("(no words)"));
        // The process may be about to abort.
        flush(FLUSH_MAX / 4);
    }));
    Ok(Log(()))
}

/// What a level lets through.
///
/// # Errors
/// It is none.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, Refused> {
    // The store's own news matter to its developers; whoever names them in the level hears them.
    EnvFilter::try_new(format!("fjall=warn,lsm_tree=warn,{level}"))
        .map_err(|error| Refused::new("log.level", error.to_string(), "use error, warn, info, debug or target=level,…"))
}

/// Lets other lines through from now on.
pub(crate) fn set_filter(filter: EnvFilter) {
    if let Some(handle) = LEVEL.get() {
        let _ = handle.reload(filter);
    }
}

/// Waits until what was said is written, for so long at most.
pub(crate) fn flush(limit: Duration) {
    let Some(lines) = LINES.get() else { return };
    let (written, is_written) = sync_channel(1);
    // A full queue is one that nobody empties, or will be empty soon; either way one try is enough.
    if lines.try_send(Line::Flush(written)).is_ok() {
        let _ = is_written.recv_timeout(limit);
    }
}

enum Line {
    Text(Vec<u8>),
    /// Somebody waits until all before this is written.
    Flush(SyncSender<()>),
}

fn write(mut out: impl Write, queue: &Receiver<Line>) {
    for line in queue {
        match line {
            Line::Text(text) => {
                if out.write_all(&text).is_err() {
                    DROPPED.fetch_add(1, Ordering::Relaxed);
                }
            }
            Line::Flush(written) => {
                let _ = written.send(());
            }
        }
    }
}

/// Where the subscriber writes its events, one write each.
struct Sink {
    lines: SyncSender<Line>,
    form: Form,
}

/// What the subscriber writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// Text for a terminal. What colours it stays; the subscriber has escaped what was not its own.
    Colours,
    /// One object a line. JSON lets U+007F to U+009F stand as they are.
    Json,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Sink {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.lines.try_send(Line::Text(one_line(event, self.form))) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line.
fn one_line(event: &[u8], form: Form) -> Vec<u8> {
    let colours = form == Form::Colours;
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    let plain = |byte: &u8| (*byte >= b' ' && *byte != 0x7f && *byte != C1_LEAD) || (colours && *byte == b'\x1b');
    let mut line = Vec::with_capacity(event.len() + 1);
    if text.iter().all(plain) {
        line.extend_from_slice(text);
    } else {
        for c in String::from_utf8_lossy(text).chars() {
            if c == '\t' || !c.is_control() || (colours && c == '\x1b') {
                line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            } else if form == Form::Json {
                line.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            } else {
                line.extend(c.escape_default().map(|c| c as u8));
            }
        }
    }
    line.push(b'\n');
    line
}

/// What the control characters U+0080 to U+009F begin with; many harmless ones do too.
const C1_LEAD: u8 = 0xc2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        use Form::{Colours, Text};
        let shown = |text: &str, form| String::from_utf8(one_line(text.as_bytes(), form)).expect("UTF-8");
        assert_eq!(shown("fine, 한국어 §\n", Text), "fine, 한국어 §\n");
        assert_eq!(shown("a\nb\r\nERROR c\n", Text), "a\\nb\\r\\nERROR c\n");
        assert_eq!(shown("\x1b[2K\x07\u{9b}31m\x7f\n", Text), "\\u{1b}[2K\\u{7}\\u{9b}31m\\u{7f}\n");
        assert_eq!(shown("\x1b[31mred\x1b[0m\nforged\n", Colours), "\x1b[31mred\x1b[0m\\nforged\n");
        assert_eq!(shown("no end", Text), "no end\n");
    }

    #[test]
    fn a_line_of_json_is_json_whatever_is_in_it() {
        let (lines, queue) = sync_channel(1);
        let sink = Sink { lines, form: Form::Json };
        let layer = tracing_subscriber::fmt::layer().with_writer(sink).json();
        let said: String = (0..=0xff).chain([0x2028]).filter_map(char::from_u32).collect();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || tracing::error!(said, "as it came: {said}"));
        let Ok(Line::Text(line)) = queue.try_recv() else { panic!("no line") };
        let line = String::from_utf8(line).expect("UTF-8");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(event["fields"]["said"], said.as_str());
        assert!(!line.trim_end_matches('\n').contains(|c: char| c.is_control()), "{line:?}");
    }

    #[test]
    fn a_sink_that_hangs_is_waited_for_by_nobody() {
        struct Hangs(std::sync::mpsc::Receiver<()>);
        impl Write for Hangs {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (lines, queue) = sync_channel(4);
        let (go_on, hangs) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || write(Hangs(hangs), &queue));
        let sink = Sink { lines, form: Form::Text };
        let before = lines_dropped();
        for _ in 0..100 {
            assert_eq!((&sink).write(b"a line\n").expect("never an error"), 7);
        }
        // One is being written, four wait.
        assert!(lines_dropped() - before >= 95, "{}", lines_dropped() - before);
        drop(go_on);
        drop(sink);
        writer.join().expect("it ends");
    }
}
