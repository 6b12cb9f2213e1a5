//! One line a second while a run goes on: written over itself on a terminal, else one below the other.

use crate::meter::Meter;
use crate::record::Second;
use std::io::Write;

/// The line that moves.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    terminal: bool,
    entered: u64,
    failed: u64,
    shown: bool,
}

impl<'a> Progress<'a> {
    /// Writes to `out`, which may be a terminal.
    pub fn new(out: &'a mut dyn Write, terminal: bool) -> Self {
        Self { out, terminal, entered: 0, failed: 0, shown: false }
    }

    /// A second is over. That nobody reads is no reason to end a run.
    pub fn second(&mut self, second: &Second, meter: &Meter) {
        self.entered += second.entered;
        self.failed += second.failed;
        let line = line(second, meter.seconds_ended(), self.entered, self.failed);
        let _ = if self.terminal { write!(self.out, "\r\x1b[K{line}") } else { writeln!(self.out, "{line}") };
        let _ = self.out.flush();
        self.shown = true;
    }

    /// No further line comes.
    pub fn end(self) {
        if self.terminal && self.shown {
            let _ = writeln!(self.out);
        }
    }
}

fn line(second: &Second, at_s: u64, entered: u64, failed: u64) -> String {
    let ms = |us: u64| us as f64 / 1_000.0;
    let mut line = format!(
        "{at_s:>4} s {:>7} calls/s  failed {failed}  p50 {:.2} ms  p99 {:.2} ms",
        second.answered,
        ms(second.p50_us),
        ms(second.p99_us)
    );
    if second.waiting > 0 || entered > 0 {
        line.push_str(&format!("  waiting {}  entered {entered}", second.waiting));
    }
    line.push_str(&format!("  own CPU {} %", second.own_cpu_millicores / 10));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_on_a_terminal_and_in_a_file() {
        let second = Second {
            answered: 12_345,
            failed: 2,
            entered: 7,
            waiting: 3,
            p50_us: 1_500,
            p99_us: 20_000,
            own_cpu_millicores: 456,
            ..Second::default()
        };
        let wanted = "   0 s   12345 calls/s  failed 2  p50 1.50 ms  p99 20.00 ms  waiting 3  entered 7  own CPU 45 %";
        let (mut file, mut terminal) = (Vec::new(), Vec::new());
        for (out, is_terminal) in [(&mut file, false), (&mut terminal, true)] {
            let mut progress = Progress::new(out, is_terminal);
            progress.second(&second, &Meter::default());
            progress.end();
        }
        assert_eq!(String::from_utf8_lossy(&file), format!("{wanted}\n"));
        assert_eq!(String::from_utf8_lossy(&terminal), format!("\r\x1b[K{wanted}\n"));
    }
}
