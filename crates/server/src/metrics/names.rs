//! Every name of `/metrics`, with what it says. `docs/metrics.md` has the same rows, held to these by a test.
//!
//! `process_*` are Prometheus' own names for what it wants to know of any process; `process` writes them.

use std::fmt;

/// One name, and what its samples mean.
#[derive(Debug)]
pub(crate) struct Name {
    /// As it is written.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Labels of each sample, in order.
    pub(crate) labels: &'static [&'static str],
    /// What one is.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation, which a test holds to this"))]
    pub(crate) unit: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation, which a test holds to this"))]
    pub(crate) whose: Whose,
    /// The line after `# HELP`.
    pub(crate) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises, and begins at 0 when the process does.
    Counter,
    /// As it is now.
    Gauge,
    /// How values were spread, since the process began.
    Histogram,
}

/// What the nodes of a cluster say with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Each its own: they add up.
    Node,
    /// All the same, as each last saw it: the largest counts.
    Shared,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Shared => "shared",
        })
    }
}

/// One line a name: the constant, what is written, kind, labels, unit, whose, help.
macro_rules! names {
    ($($constant:ident = $name:literal, $kind:ident, [$($label:literal),*], $unit:literal, $whose:ident, $help:literal;)*) => {
        $(pub(crate) const $constant: Name =
            Name { name: $name, kind: Kind::$kind, labels: &[$($label),*], unit: $unit, whose: Whose::$whose, help: $help };)*

        /// All of them, in the order of the documentation.
        #[cfg(test)]
        pub(crate) const ALL: &[&Name] = &[$(&$constant),*];
    };
}

names! {
    HTTP_REQUESTS = "bunho_http_requests_total", Counter, ["method", "route", "status"], "requests", Node,
        "Requests answered.";
    HTTP_SECONDS = "bunho_http_request_duration_seconds", Histogram, ["method", "route"], "seconds", Node,
        "Time until a request was answered.";
    CLAIMS = "bunho_claims_total", Counter, ["outcome"], "claims", Node,
        "Attempts to claim, by outcome: taken, replayed or the problem's code.";
    ENTRIES = "bunho_entries_total", Counter, ["call", "outcome"], "calls", Node,
        "Joins (wait) and polls (entry) of waiting lines, by outcome: admitted, waiting or the problem's code.";
    REQUESTS_SHED = "bunho_requests_shed_total", Counter, [], "requests", Node,
        "Requests told to come again because too much was under way, or an answer took too long.";
    IN_FLIGHT = "bunho_requests_in_flight", Gauge, [], "requests", Node,
        "Requests under way.";
    STREAMS = "bunho_streams_open", Gauge, [], "streams", Node,
        "Open event streams.";
    CONNECTIONS = "bunho_connections_open", Gauge, [], "connections", Node,
        "Open connections.";
    CONNECTIONS_SHED = "bunho_connections_shed_total", Counter, [], "connections", Node,
        "Connections told to come again because all that were open were busy.";
    CONNECTIONS_EVICTED = "bunho_connections_evicted_total", Counter, [], "connections", Node,
        "Connections without a request under way that were closed to make room.";

    ZONE_WAITING = "bunho_zone_waiting", Gauge, ["zone"], "people", Shared,
        "People waiting, those included who have missed a poll.";
    ZONE_PRESENT = "bunho_zone_present", Gauge, ["zone"], "people", Shared,
        "People waiting who poll when they are told to.";
    ZONE_ACTIVE = "bunho_zone_active", Gauge, ["zone"], "people", Shared,
        "People inside.";
    ZONE_ENTERED_LAST_MINUTE = "bunho_zone_entered_last_minute", Gauge, ["zone"], "people", Shared,
        "Admissions in the last 60 seconds.";
    ZONE_ENTERED = "bunho_zone_entered_total", Counter, ["zone"], "people", Shared,
        "Admissions.";
    ZONE_LEFT = "bunho_zone_left_total", Counter, ["zone"], "people", Shared,
        "People who gave their place in the line up.";
    ZONE_DROPPED = "bunho_zone_dropped_total", Counter, ["zone"], "people", Shared,
        "People who fell silent in the line for so long that they no longer count; one who comes back may do so again.";
    ZONE_LIMIT = "bunho_zone_limit_per_minute", Gauge, ["zone"], "people", Shared,
        "Most admissions in a minute; no sample where there is no limit.";
    ZONE_ESTIMATE = "bunho_zone_estimate_seconds", Gauge, ["zone"], "seconds", Shared,
        "Wait that somebody who joins now is told; no sample while none is told.";
    ZONE_ESTIMATE_TOLD = "bunho_zone_estimate_told_seconds_total", Counter, ["zone"], "seconds", Node,
        "Of an even sample of the people admitted: the sum of the waits that they were told when they joined.";
    ZONE_ESTIMATE_KEPT = "bunho_zone_estimate_kept_seconds_total", Counter, ["zone"], "seconds", Node,
        "Of the same people: the sum of the waits that it came to.";
    ZONE_ESTIMATE_PEOPLE = "bunho_zone_estimate_people_total", Counter, ["zone"], "people", Node,
        "People in that sample.";
    ZONE_UNUSED = "bunho_zone_unused_entries_total", Counter, ["zone"], "entries", Shared,
        "Entries that the limit allowed in a slot and nobody took, while so many were waiting.";
    ZONE_HOLDING = "bunho_zone_holding", Gauge, ["zone"], "0 or 1", Shared,
        "1 while the line lets nobody in because it is being restored, or listens for those who waited before a restart.";
    ZONE_STATE = "bunho_zone_state", Gauge, ["zone", "state"], "1", Shared,
        "1 for the state that the line is in: waiting, not_open, paused, closed, sold_out or recovering.";
    ZONES_LEFT_OUT = "bunho_zones_left_out", Gauge, [], "zones", Node,
        "Zones without samples of their own: beyond metrics.series_max, or not read within the last seconds.";

    OFFER_QUANTITY = "bunho_offer_quantity", Gauge, ["offer"], "units", Shared,
        "Units there are.";
    OFFER_REMAINING = "bunho_offer_remaining", Gauge, ["offer"], "units", Shared,
        "Units nobody has.";
    OFFER_HELD = "bunho_offer_held", Gauge, ["offer"], "units", Shared,
        "Units that await confirmation.";
    OFFER_CONFIRMED = "bunho_offer_confirmed", Gauge, ["offer"], "units", Shared,
        "Units taken for good.";
    OFFER_STANDBY = "bunho_offer_standby", Gauge, ["offer"], "places", Shared,
        "Places waiting on standby.";
    OFFER_REFUSED = "bunho_offer_refused_total", Counter, ["offer", "code"], "requests", Node,
        "Requests of clients about an offer that were refused, by the problem's code.";
    OFFER_SUSPENDED = "bunho_offer_suspended", Gauge, ["offer"], "0 or 1", Shared,
        "1 while nothing is decided about the offer because its state is being restored. Only of a cluster.";
    OFFERS_LEFT_OUT = "bunho_offers_left_out", Gauge, [], "offers", Node,
        "Offers without samples of their own: beyond metrics.series_max, or whose numbers did not become durable in time.";

    JOURNAL_UP = "bunho_journal_up", Gauge, [], "0 or 1", Node,
        "Whether what is decided is taken: by the journal, or on a cluster by Redis and Kafka.";
    JOURNAL_DURABLE = "bunho_journal_durable_offset", Gauge, [], "records", Shared,
        "Last durable record; on a cluster the sum over the topic's partitions.";
    JOURNAL_PROJECTED = "bunho_journal_projected_offset", Gauge, [], "records", Shared,
        "Record up to which the ledger has everything; on a cluster the sum over the topic's partitions.";
    JOURNAL_BACKLOG = "bunho_journal_backlog_bytes", Gauge, [], "bytes", Node,
        "Bytes that wait for the journal's disk. Only of the embedded shape.";
    JOURNAL_BATCH = "bunho_journal_batch_records", Histogram, [], "records", Node,
        "Records that became durable by one sync. Only of the embedded shape.";
    JOURNAL_SYNC = "bunho_journal_sync_seconds", Histogram, [], "seconds", Node,
        "Time that a sync of the journal's disk took. Only of the embedded shape.";
    PROJECTOR_UP = "bunho_projector_up", Gauge, [], "0 or 1", Node,
        "Whether the projector's last attempt succeeded.";
    PROJECTOR_LAG = "bunho_projector_lag_records", Gauge, [], "records", Shared,
        "Durable records that the ledger does not have yet.";
    PROJECTOR_LAG_SECONDS = "bunho_projector_lag_seconds", Gauge, [], "seconds", Shared,
        "How long ago the oldest of these became durable, to about a second; 0 where there are none.";
    PARKED = "bunho_ledger_parked_events", Gauge, [], "events", Shared,
        "Events that a guard of the ledger refused and nobody has mended.";

    REDIS_UP = "bunho_redis_up", Gauge, [], "0 or 1", Node,
        "Whether Redis answered when it was last asked, which is every second.";
    REDIS_ROUND_TRIPS = "bunho_redis_round_trips_total", Counter, [], "round trips", Node,
        "Times that something was sent to Redis: runs of commands, and questions (its clock, its slots, what a primary says of itself).";
    REDIS_ROUND_TRIP = "bunho_redis_round_trip_seconds", Histogram, [], "seconds", Node,
        "Time until a run of commands was answered by Redis, or given up.";
    REDIS_BATCH = "bunho_redis_batch_commands", Histogram, [], "commands", Node,
        "Commands in one run.";
    REDIS_SCRIPT_SECONDS = "bunho_redis_script_seconds_total", Counter, ["node"], "seconds", Shared,
        "Time that a primary of Redis spent in scripts, as it says; of every node of Bunho.";
    REDIS_SCRIPT_CALLS = "bunho_redis_script_calls_total", Counter, ["node"], "runs", Shared,
        "Runs of scripts on a primary of Redis, as it says; of every node of Bunho.";
    REDIS_SLOWLOG = "bunho_redis_slowlog_entries_total", Counter, ["node"], "commands", Shared,
        "Commands that a primary of Redis has noted in its slow log; emptying that log loses none that was seen.";
    KAFKA_UP = "bunho_kafka_up", Gauge, [], "0 or 1", Node,
        "Whether Kafka answered when it was last asked, which is every second.";
    KAFKA_PRODUCE = "bunho_kafka_produce_seconds", Histogram, [], "seconds", Node,
        "Time until a message was acknowledged by Kafka, or given up.";
    OUTBOX_DEPTH = "bunho_outbox_depth", Gauge, [], "entries", Node,
        "Decisions that this node has to bring into Kafka and has not removed from Redis yet.";
    RECOVERING = "bunho_recovering", Gauge, [], "offers and zones", Shared,
        "Offers and zones whose state in Redis is being restored.";
    RECOVERIES = "bunho_recoveries_total", Counter, [], "recoveries", Node,
        "Times that this node restored the state of offers or of a zone in Redis.";

    KERNEL_OVERFLOWS = "bunho_kernel_listen_overflows_total", Counter, [], "connections", Node,
        "Connections that the kernel did not complete because an accept queue was full, of the whole network namespace.";
    KERNEL_DROPS = "bunho_kernel_listen_drops_total", Counter, [], "packets", Node,
        "SYNs and last packets of handshakes that listening sockets dropped for any reason, of the whole network namespace.";
    KERNEL_SYN_DROPS = "bunho_kernel_syn_drops_total", Counter, [], "packets", Node,
        "SYNs dropped because a queue of half-open connections was full and cookies are off, of the whole network namespace.";
    KERNEL_SYN_COOKIES = "bunho_kernel_syn_cookies_total", Counter, [], "packets", Node,
        "SYNs answered with a cookie because a queue of half-open connections was full, of the whole network namespace.";
    ACCEPT_QUEUE = "bunho_listen_accept_queue", Gauge, ["listen"], "connections", Node,
        "Connections that the kernel has completed and this process has not accepted yet, by address.";
    BACKLOG = "bunho_listen_backlog", Gauge, ["listen"], "connections", Node,
        "Most connections that may wait so: the smaller one of what was asked for and net.core.somaxconn.";
    PROCESSORS = "bunho_processors", Gauge, [], "processors", Node,
        "Processors that this process may use, what its control group allows included.";
    PASS_KEY = "bunho_pass_key_created_timestamp_seconds", Gauge, [], "seconds", Shared,
        "When the key that signs passes was made, in Unix time.";
    TICKET_KEY = "bunho_ticket_key_created_timestamp_seconds", Gauge, [], "seconds", Shared,
        "When the key that signs tickets was made, in Unix time.";
    TLS_EXPIRES = "bunho_tls_certificate_expires_timestamp_seconds", Gauge, [], "seconds", Node,
        "When the certificate in force ends, in Unix time. Only with TLS.";
    TLS_RELOADS = "bunho_tls_reloads_total", Counter, ["outcome"], "reloads", Node,
        "Certificates that were read again while running: taken, or refused for what was in force. Only with TLS.";
    TLS_FAILED = "bunho_tls_handshakes_failed_total", Counter, [], "handshakes", Node,
        "Handshakes that came to nothing. Only with TLS.";
    CONFIG_RELOADS = "bunho_config_reloads_total", Counter, ["outcome"], "reloads", Node,
        "Configurations that were read again while running: taken, or refused for what was in force.";
    RETENTION = "bunho_retention_forgotten_total", Counter, [], "claims", Node,
        "Claims whose people were forgotten because their offers ended retention.forget_after_days ago.";
    LOG_DROPPED = "bunho_log_lines_dropped_total", Counter, [], "lines", Node,
        "Lines of the log that were dropped because nobody took them.";
    SPANS_DROPPED = "bunho_trace_spans_dropped_total", Counter, [], "spans", Node,
        "Spans that did not reach the collector. Only with one.";

    WEBHOOK_DELIVERIES = "bunho_webhook_deliveries_total", Counter, ["outcome"], "attempts", Node,
        "Attempts to deliver to webhooks: delivered, failed (it is tried again) or dead (it was given up).";
    WEBHOOK_PENDING = "bunho_webhook_pending", Gauge, [], "messages", Shared,
        "Messages that wait for webhooks.";
    WEBHOOK_DEAD = "bunho_webhook_dead", Gauge, [], "messages", Shared,
        "Messages that were given up and await somebody.";

    UPTIME = "bunho_uptime_seconds", Gauge, [], "seconds", Node,
        "Seconds since the start.";
}

impl Name {
    /// Its row in `docs/metrics.md`.
    #[cfg(test)]
    fn row(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} | {} | {} |", self.name, self.kind, labels.join(", "), self.unit, self.whose, self.help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_name_and_no_other() {
        let page = include_str!("../../../../docs/metrics.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `bunho_")).collect();
        let wanted: Vec<String> = ALL.iter().map(|name| name.row()).collect();
        let missing: Vec<&String> = wanted.iter().filter(|row| !rows.contains(&row.as_str())).collect();
        let unknown: Vec<&&str> = rows.iter().filter(|row| !wanted.iter().any(|wanted| wanted == *row)).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}\nunknown: {unknown:#?}");
        assert_eq!(rows.len(), wanted.len(), "a row is there twice");
    }

    #[test]
    fn names_say_what_they_are() {
        for name in ALL {
            assert_eq!(name.name.ends_with("_total"), name.kind == Kind::Counter, "{}", name.name);
            assert_eq!(name.name.ends_with("_seconds") || name.name.ends_with("_seconds_total"), name.unit == "seconds", "{}", name.name);
            assert!(name.name.starts_with("bunho_") && name.help.ends_with('.') && !name.help.contains('|'), "{}", name.name);
        }
    }
}
