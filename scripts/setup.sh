#!/usr/bin/env bash
# Installs what `make test` needs and a machine with only a Rust toolchain lacks. Does nothing where all is there.
set -euo pipefail

need=()
command -v sqlite3 >/dev/null || need+=(sqlite3)   # the SQL of the README is tried with the real shell
command -v cc >/dev/null || need+=(build-essential) # SQLite is compiled from its C source
# The components of the cluster shape, for its tests and `make cluster`; each started by scripts/cluster on its own data, never as a service.
for pair in redis-server:redis-server nginx:nginx-light java:default-jre-headless mvn:maven; do PATH=$PATH:/usr/sbin command -v "${pair%:*}" >/dev/null || need+=("${pair#*:}"); done
if ((${#need[@]})); then
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  # Debian starts a server as soon as it is installed, unless this says no.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap '"${sudo[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" install -m 755 /dev/stdin /usr/sbin/policy-rc.d
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" apt-get install -y -qq "${need[@]}"
fi

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny@0.20.2
