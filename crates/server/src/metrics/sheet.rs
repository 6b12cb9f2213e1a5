//! Prometheus' text form, written by hand: what describes a state has its series from what there is now, so nothing that is gone leaves one.

use super::names::{Kind, Name};
use bunho_journal::measure::SpreadRead;
use std::fmt::{Display, Write};

/// A page that is being written.
pub(super) struct Sheet {
    text: String,
}

/// Microseconds in a second.
pub(super) const US: f64 = 1e6;

impl Sheet {
    /// After what is written already.
    pub(super) const fn after(text: String) -> Self {
        Self { text }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    /// One sample without labels.
    pub(super) fn one(&mut self, name: &Name, value: impl Display) {
        self.all(name, [([""; 0], value)]);
    }

    /// One sample for each thing; the values of its labels in the order of their names. Without samples nothing is written.
    pub(super) fn all<const LABELS: usize, L: Display>(
        &mut self,
        name: &Name,
        samples: impl IntoIterator<Item = ([L; LABELS], impl Display)>,
    ) {
        debug_assert_eq!(name.labels.len(), LABELS, "{}", name.name);
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(name);
        for (labels, value) in samples {
            self.text.push_str(name.name);
            let mut before = '{';
            for (label, value) in name.labels.iter().zip(labels) {
                // Values are ids, codes and addresses: none has a quote or a backslash. What cannot be written into a string does not exist.
                let _ = write!(self.text, "{before}{label}=\"{value}\"");
                before = ',';
            }
            let end = if LABELS == 0 { "" } else { "}" };
            let _ = writeln!(self.text, "{end} {value}");
        }
    }

    /// Values that were counted; `per_unit` of them are one of the name's unit.
    pub(super) fn spread(&mut self, name: &Name, read: &SpreadRead, per_unit: f64) {
        debug_assert_eq!(name.kind, Kind::Histogram, "{}", name.name);
        self.head(name);
        let text = &mut self.text;
        for (bound, count) in &read.upto {
            let _ = writeln!(text, "{}_bucket{{le=\"{}\"}} {count}", name.name, *bound as f64 / per_unit);
        }
        let _ = writeln!(text, "{}_bucket{{le=\"+Inf\"}} {}", name.name, read.count);
        let _ = writeln!(text, "{0}_sum {1}\n{0}_count {2}", name.name, read.sum as f64 / per_unit, read.count);
    }

    fn head(&mut self, name: &Name) {
        let _ = writeln!(self.text, "# HELP {0} {1}\n# TYPE {0} {2}", name.name, name.help, name.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;
    use bunho_journal::measure::{Spread, TIMES_US};

    #[test]
    fn a_page_is_in_the_form_of_prometheus() {
        let mut sheet = Sheet::after(String::new());
        sheet.one(&names::IN_FLIGHT, 3);
        sheet.all(&names::ZONE_STATE, [(["A", "waiting"], 1), (["B", "closed"], 1)]);
        sheet.all(&names::ZONE_WAITING, Vec::<([&str; 1], u32)>::new());
        let spread = Spread::over(&TIMES_US);
        spread.note(1_500);
        spread.note(20_000_000);
        sheet.spread(&names::JOURNAL_SYNC, &spread.read(), US);
        let text = sheet.finish();
        for line in [
            "# TYPE bunho_requests_in_flight gauge",
            "bunho_requests_in_flight 3",
            "bunho_zone_state{zone=\"A\",state=\"waiting\"} 1",
            "bunho_zone_state{zone=\"B\",state=\"closed\"} 1",
            "bunho_journal_sync_seconds_bucket{le=\"0.001\"} 0",
            "bunho_journal_sync_seconds_bucket{le=\"0.0025\"} 1",
            "bunho_journal_sync_seconds_bucket{le=\"10\"} 1",
            "bunho_journal_sync_seconds_bucket{le=\"+Inf\"} 2",
            "bunho_journal_sync_seconds_sum 20.0015",
            "bunho_journal_sync_seconds_count 2",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("bunho_zone_waiting"), "{text}");
    }
}
