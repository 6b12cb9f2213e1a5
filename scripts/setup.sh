#!/usr/bin/env bash
# Installs what `make test` needs and a machine with only a Rust toolchain lacks. Does nothing where all is there.
set -euo pipefail

need=()
command -v sqlite3 >/dev/null || need+=(sqlite3)   # the SQL of the README is tried with the real shell
command -v cc >/dev/null || need+=(build-essential) # SQLite is compiled from its C source
if ((${#need[@]})); then
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" apt-get install -y -qq "${need[@]}"
fi

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny@0.20.2
