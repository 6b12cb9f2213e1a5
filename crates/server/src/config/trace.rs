//! `[trace]`, checked.

use super::{Refused, TraceSettings};
use url::Url;

/// Spans to a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// Where they go.
    pub endpoint: String,
    /// Of requests that nobody else traces, how many are, in millionths.
    pub millionths: u32,
}

pub(super) fn check(settings: TraceSettings) -> Result<Option<TraceConfig>, Refused> {
    let Some(endpoint) = settings.otlp_endpoint else { return Ok(None) };
    let is_one = Url::parse(&endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_one {
        let mend = "write it with its path, as http://127.0.0.1:4318/v1/traces";
        return Err(Refused::new("trace.otlp_endpoint", format!("{endpoint:?} is no address of a collector"), mend));
    }
    Ok(Some(TraceConfig { endpoint, millionths: settings.sample_ratio.0 }))
}
