#!/usr/bin/env bash
# Installs what `make test` and `make cluster` need and a Debian 12 machine with only a Rust toolchain, Node.js and Go lacks. Does nothing where all is there.
#
#   scripts/setup.sh            all that tests and checks need
#   scripts/setup.sh cluster    what make cluster needs
#   scripts/setup.sh node       looks whether Node.js can build the pages
#
# Redis, Kafka's Java, PostgreSQL, MariaDB and the proxies are programs to start, not services: scripts/cluster and the tests start each on loopback, on
# data of its own, and stop it by its process id. So what is installed here is kept from starting, now and at the next boot.
set -euo pipefail
cd "$(dirname "$0")/.."
# Where Debian keeps servers; not everybody's path has it.
PATH=$PATH:/usr/sbin:/sbin

has() { command -v "$1" >/dev/null; }
has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || { has initdb && has postgres; }; }

node_can_build() { has node && has npm && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; }
if ! node_can_build; then
  echo "the pages need Node.js 20.19 or newer with npm; Debian 12 has an older one: install it from where you have Node.js from" >&2
  exit 69
fi
[ "${1:-}" != node ] || exit 0

need=() services=()
{ has cc && has c++ && has make; } || need+=(build-essential)            # SQLite and librdkafka are compiled from their C sources
has curl || need+=(curl)                                                 # make cluster asks the nodes whether they are ready
{ has redis-server && has redis-cli; } || { need+=(redis-server); services+=(redis-server); }
has nginx || { need+=(nginx-light); services+=(nginx); }
{ has java && has javac; } || need+=(default-jdk-headless)
has mvn || need+=(maven)                                                 # fetches the jars of Kafka, JMeter and deploy/verify
has_postgres || { need+=(postgresql); services+=(postgresql); }
{ has mariadbd && has mariadb-install-db; } || { need+=(mariadb-server); services+=(mariadb); }
if [ "${1:-}" != cluster ]; then
  has sqlite3 || need+=(sqlite3)                                         # the SQL of the README is tried with the real shell
  has openssl || need+=(openssl)                                         # connections are tried by a client that is not ours
  has shellcheck || need+=(shellcheck)                                   # the scripts are checked like the rest
  has chromium || need+=(chromium)                                       # pages are tried in a real browser
  [ -n "$(fc-list 'Noto Sans CJK KR' 2>/dev/null)" ] || need+=(fonts-noto-cjk fontconfig) # in which Korean has letters
  has haproxy || { need+=(haproxy); services+=(haproxy); }               # deploy/kit is run with every proxy that can be had here
  has caddy || { need+=(caddy); services+=(caddy); }
  has systemd-analyze || need+=(systemd)                                 # looks the unit of the package over
  python3 -c 'import ensurepip, venv' 2>/dev/null || need+=(python3-venv) # tools of scripts/lint_deploy.sh; schemathesis and probes of scripts/apitest.sh
  has php || need+=(php-cli)                                             # deploy/verify
  has promtool || { need+=(prometheus); services+=(prometheus); }        # deploy/prometheus, whose alerts are fired; reads /metrics
  has python3 || need+=(python3)                                         # the example of docs/webhooks.md
fi

if ((${#need[@]})); then
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  # Debian starts a server as soon as it is installed, unless this says no.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap '"${sudo[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" install -m 755 /dev/stdin /usr/sbin/policy-rc.d
  fi
  # A machine that has just started may be looking for updates of its own, and a mirror may not answer once.
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5)
  scripts/again.sh "${sudo[@]}" "${apt[@]}" update -qq
  "${sudo[@]}" "${apt[@]}" install -y -qq --no-install-recommends "${need[@]}"
  if [ -d /run/systemd/system ] && ((${#services[@]})); then "${sudo[@]}" systemctl disable --quiet "${services[@]}"; fi
fi

# Now, once, and not while a test waits for its broker.
scripts/cluster/kafka.sh fetch

[ "${1:-}" != cluster ] || exit 0
scripts/loadtest.sh install jmeter
scripts/alertmanager.sh
scripts/apitest.sh install
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
has cargo-deny || cargo install --locked --quiet cargo-deny@0.20.2
