#!/usr/bin/env bash
# Checks dependencies against the RustSec database where a copy of it is on the machine (cargo deny fetch brings one).
set -euo pipefail
if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-db*/*" >/dev/null; then
  cargo deny --offline --locked check advisories
else
  echo "advisories: no copy of the RustSec database on this machine; 'cargo deny fetch db' brings one. Not checked."
fi
