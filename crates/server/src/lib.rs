//! HTTP, configuration and the `bunho` binary.

pub mod cli;
pub mod commands;
pub mod config;
pub mod exit;
pub mod secrets;
pub mod node;
pub mod demo;
pub mod app;
pub mod router;
pub mod listen;
mod http;
pub mod auth;
pub mod pass;
pub mod problem;
pub mod metrics;
mod openapi;
