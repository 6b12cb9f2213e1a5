//! Numbers of what stands around the server: certificates, keys, what was read again, the log, spans, webhooks.

use super::names;
use super::sheet::Sheet;
use crate::app::App;
use crate::telemetry::log;
use crate::{reload, retention};

pub(super) fn write(sheet: &mut Sheet, app: &App) {
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    let now = app.engine.now();
    if let Some(made_at) = app.passes.shown(now).into_iter().find(|key| key.is_signing).and_then(|key| key.made_at) {
        sheet.one(&names::PASS_KEY, seconds(made_at.0));
    }
    sheet.one(&names::TICKET_KEY, seconds(app.tickets.load().signing(now).made_at.0));
    let by_outcome = |(taken, refused): (u64, u64)| [(["taken"], taken), (["refused"], refused)];
    sheet.all(&names::CONFIG_RELOADS, by_outcome(reload::counts()));
    sheet.one(&names::RETENTION, retention::claims_forgotten());
    sheet.one(&names::LOG_DROPPED, log::lines_dropped());
    if let Some(tracer) = &app.tracer {
        sheet.one(&names::SPANS_DROPPED, tracer.dropped());
    }
    sheet.all(&names::WEBHOOK_DELIVERIES, app.webhooks.outcomes().map(|(outcome, attempts)| ([outcome], attempts)));
    let waiting = app.webhooks.totals();
    sheet.one(&names::WEBHOOK_PENDING, waiting.pending);
    sheet.one(&names::WEBHOOK_DEAD, waiting.dead);
    if let Some(tls) = &app.tls {
        sheet.one(&names::TLS_EXPIRES, tls.expires_at());
        sheet.all(&names::TLS_RELOADS, by_outcome(tls.reloads()));
        sheet.one(&names::TLS_FAILED, tls.handshakes_failed());
    }
}
