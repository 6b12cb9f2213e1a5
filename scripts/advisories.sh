#!/usr/bin/env bash
# Checks dependencies against what is known of them: crates against the RustSec database where a copy of it is on the machine (cargo deny fetch db
# brings one), packages that are built into the pages against what npm knows, where it answers such questions. What could not be asked is said.
set -euo pipefail
if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-db*/*" >/dev/null; then
  cargo deny --offline --locked check advisories
else
  echo "advisories: no copy of the RustSec database on this machine; 'cargo deny fetch db' brings one. Crates were not checked."
fi

# Fails as well where npm does not answer; only a report tells which.
report=$(cd "$(dirname "$0")/../web" && timeout 60 npm audit --omit dev --json 2>/dev/null) && found=no || found=yes
if ! grep -q '"auditReportVersion"' <<<"$report"; then
  echo "advisories: npm does not answer about them. Packages of the pages were not checked."
elif [ "$found" = yes ]; then
  echo "$report" >&2
  exit 1
fi
