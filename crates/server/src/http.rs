//! The edge: what a request becomes before the engine sees it, and what an answer becomes afterwards.
//!
//! Wire types live here and nowhere else. `/traffic` and `/zones` speak camelCase, as the waiting room does whose clients
//! must work unchanged; `/v1` and `/admin` speak snake_case.

pub(crate) mod edge;
pub(crate) mod json;
pub(crate) mod params;
pub(crate) mod stream;
pub(crate) mod time;

pub(crate) mod admin;
pub(crate) mod claims;
pub(crate) mod offers;
pub(crate) mod operations;
pub(crate) mod pages;
pub(crate) mod passes;
pub(crate) mod standby;
pub(crate) mod traffic;
pub(crate) mod wait;
pub(crate) mod zones;
