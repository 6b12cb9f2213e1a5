#!/usr/bin/env bash
# Runs a command that fetches something, and once more after some seconds where it fails: Maven, Go and pip give up at a mirror's first hiccup.
#
#   scripts/again.sh COMMAND...
set -euo pipefail
if "$@"; then exit; fi
echo "again.sh: once more in 15 s: $*" >&2
sleep 15
exec "$@"
