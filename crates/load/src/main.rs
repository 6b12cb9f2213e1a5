//! The `bunho-load` command.

fn main() {}
