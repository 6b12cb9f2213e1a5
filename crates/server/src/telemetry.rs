//! What the program says of itself while it runs: lines of a log, spans, and the lines that scripts wait for. Nothing that it does waits for
//! whoever should read them.

pub(crate) mod context;
pub(crate) mod log;
pub(crate) mod otlp;
mod protobuf;
pub(crate) mod say;
