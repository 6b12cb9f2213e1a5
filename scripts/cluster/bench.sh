#!/usr/bin/env bash
# Measures the cluster shape beside the embedded one on this machine, in one run, and writes docs/benchmarks-cluster.md.
#
#   make cluster && scripts/cluster/bench.sh [FILE]        ten minutes; both databases for the drain need LEDGER=postgres and a MariaDB beside it,
#                                                          which this script starts and stops by itself
#
# Everything runs on the same machine: nodes, Redis, Kafka, database and generator share its cores, so compare within a table, not across machines.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
page=${1:-$root/docs/benchmarks-cluster.md}
seconds=${SECONDS_EACH:-10}
work=$(mktemp -d)
embedded=
trap '[ -z "$embedded" ] || kill "$embedded" 2>/dev/null || true; rm -rf "$work"' EXIT

cd "$root"
cargo build --release --locked --bin bunho --bin bunho-load
cargo build --release --locked -p bunho-engine --example redis_claims --example redis_line
cargo build --release --locked -p bunho-ledger --example drain_rate
load=$root/target/release/bunho-load
key=${BUNHO_ADMIN_KEY:-$(cat target/cluster/bunho/admin.key)}
redis=redis://127.0.0.1:$(cat target/cluster/redis/base-port)
node=http://127.0.0.1:$(cat target/cluster/bunho/base-port)

BUNHO_ADMIN_KEY=$key setsid "$root/target/release/bunho" serve --data "$work/data" --listen 127.0.0.1:18099 >"$work/log" 2>&1 &
embedded=$!
until curl -fsS -o /dev/null http://127.0.0.1:18099/readyz 2>/dev/null; do sleep 0.1; done

# One line of a table: name, then what the summary of bunho-load says of claims.
claims() { # claims NAME TARGET CONNECTIONS
  "$load" claims --target "$2" --admin-key "$key" --connections "$3" --vus "$3" --duration "${seconds}s" --quantity 100000000 >"$work/out" 2>&1 || true
  awk -v name="$1" '$1 == "claim" { printf "| %s | %s | %s %s | %s %s |\n", name, $3, $4, $5, $8, $9 }' "$work/out"
}

{
  echo "# The cluster shape, measured"
  echo
  echo "Written by \`make cluster && scripts/cluster/bench.sh\`; do not edit. Machine: $(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)), $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo), Linux $(uname -r | cut -d. -f1,2)."
  echo "Nodes, Redis (3 + 3), Kafka (one broker), PostgreSQL and the generator share these cores: what is compared stands in one table, and its rows were measured one after another in one run."
  echo
  echo "## Durable claims (\`ack = journal\`), over HTTP"
  echo
  echo "| claims | a second | p50 | p99 |"
  echo "|---|---:|---:|---:|"
  for turn in 1 2; do
    claims "embedded, 64 connections, turn $turn" http://127.0.0.1:18099 64
    claims "cluster, one of its nodes, 64 connections, turn $turn" "$node" 64
    claims "cluster, one of its nodes, 1000 connections, turn $turn" "$node" 1000
  done
  echo
  echo "Each cluster claim is in Redis, acknowledged by a replica (\`WAIT\`) and by Kafka (\`acks=all\`) before it is answered."
  echo
  echo "## Redis: gathered, beside one script for each request"
  echo
  echo '```'
  "$root/target/release/examples/redis_claims" "$redis" 256 3
  echo '```'
  echo
  echo "## Redis: the waiting line"
  echo
  echo '```'
  "$root/target/release/examples/redis_line" 10000 100000 || true
  echo '```'
  echo
  echo "## Topic to SQL: projector beside a raw insert of the same columns"
  echo
  for database in postgres mariadb; do
    url=$("$here/sql.sh" start "$database" "$work/$database" "$((18110 + ${#database}))" | tail -1)
    echo "$database:"
    echo
    echo '```'
    "$root/target/release/examples/drain_rate" 200000 0 1 "$url" || true
    echo '```'
    "$here/sql.sh" stop "$work/$database" >/dev/null
  done
} >"$page"
echo "written: $page"
