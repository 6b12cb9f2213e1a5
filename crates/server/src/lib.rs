//! HTTP, configuration and the `bunho` binary.

pub mod app;
mod assets;
pub mod auth;
pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod exit;
mod http;
pub mod listen;
mod live;
pub mod metrics;
pub mod moving;
pub mod node;
mod openapi;
pub mod pass;
pub mod preflight;
pub mod problem;
pub mod router;
pub mod secrets;
