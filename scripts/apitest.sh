#!/usr/bin/env bash
# Bunho's API, attacked by others' tools and by lists of our own, straight and behind real proxies. docs/reliability.md says what they found.
#
#   scripts/apitest.sh                     everything, schemathesis for five minutes
#   scripts/apitest.sh quick               the same, schemathesis for three quarters of a minute: a part of make test
#   scripts/apitest.sh schemathesis [S]    for S seconds at most, 300 if left out
#   scripts/apitest.sh smuggling|headers|injection
#   scripts/apitest.sh injection URL       into PostgreSQL instead of SQLite: an empty database, psql
#   scripts/apitest.sh install             the Python environment, and nothing else
#
# The program is the newest in target/, or BUNHO_PROGRAM. Everything listens on loopback, on ports that the system gives.
set -euo pipefail
cd "$(dirname "$0")/.."
# Where Debian keeps proxies; not everybody's path has it.
export PATH=$PATH:/usr/sbin:/sbin

venv=target/apitest/venv
# Every check it has is used: a newer one may have more, and is taken on purpose.
version=4.32.5

install() {
  # The same packages make the same cases of the same seed.
  local pinned=scripts/apitest/constraints.txt
  if ! [ -x "$venv/bin/schemathesis" ] || ! "$venv/bin/schemathesis" --version | grep -qF "$version" || ! cmp -s "$pinned" "$venv/constraints.txt"; then
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    scripts/again.sh "$venv/bin/pip" install --quiet --disable-pip-version-check --constraint "$pinned" "schemathesis==$version"
    cp "$pinned" "$venv/constraints.txt"
  fi
}

schemathesis() { install && python3 scripts/apitest/schema.py "$1"; }
ours() {
  python3 scripts/apitest/smuggling.py
  python3 scripts/apitest/headers.py
  python3 scripts/apitest/injection.py
}

case "${1:-all}" in
  all) schemathesis 300 && ours ;;
  quick) schemathesis 45 && ours ;;
  schemathesis) schemathesis "${2:-300}" ;;
  smuggling | headers) python3 "scripts/apitest/$1.py" ;;
  injection) shift && python3 scripts/apitest/injection.py "$@" ;;
  install) install ;;
  *) sed -n '2,12p' "$0" >&2 && exit 64 ;;
esac
