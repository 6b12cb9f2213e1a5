#!/usr/bin/env bash
# A Redis Cluster of three primaries and three replicas on loopback.
#
#   scripts/cluster/redis.sh start|stop|status [FOLDER [BASE_PORT]]
#   scripts/cluster/redis.sh start-one|kill-one N [FOLDER [BASE_PORT]]     one node of the six, counted from 0
#
#   REDIS_FOLDER            default target/cluster/redis     REDIS_PORT   default 17000
#   REDIS_FSYNC             everysec (default) or always; read at each start
#   REDIS_NODE_TIMEOUT_MS   after which a silent node counts as failed; default 5000
#   REDIS_SERVER, REDIS_CLI the programs; for Valkey valkey-server and valkey-cli
#
# Nodes listen on BASE_PORT to BASE_PORT + 5 and talk to one another on BASE_PORT + 10 to BASE_PORT + 15. Which of them are primaries is
# the cluster's own business: it changes when one fails.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=process.sh
source "$here/process.sh"

root=$(cd "$here/../.." && pwd)
server=${REDIS_SERVER:-redis-server}
cli=${REDIS_CLI:-redis-cli}
nodes=6

read_arguments() {
  dir=${1:-${REDIS_FOLDER:-$root/target/cluster/redis}}
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  remembered_port "$dir" "${2:-${REDIS_PORT:-}}" 17000
}

configure() { # configure N
  mkdir -p "$dir/node-$1"
  cat >"$dir/node-$1.conf" <<EOF
port $((port + $1))
bind 127.0.0.1
dir $dir/node-$1
daemonize no
cluster-enabled yes
cluster-config-file nodes.conf
cluster-port $((port + 10 + $1))
cluster-announce-ip 127.0.0.1
cluster-node-timeout ${REDIS_NODE_TIMEOUT_MS:-5000}
# A shard that is out must not take the other two with it.
cluster-require-full-coverage no
# Stock, holds and keys are never thrown away to make room.
maxmemory-policy noeviction
appendonly yes
appendfsync ${REDIS_FSYNC:-everysec}
# The append-only file is the one record; a snapshot beside it would only cost.
save ""
repl-diskless-sync-delay 0
repl-backlog-size 16mb
repl-backlog-ttl 0
EOF
}

ask() { "$cli" -h 127.0.0.1 -p "$((port + $1))" "${@:2}"; }

answers() { [ "$(ask "$1" ping)" = PONG ]; }

start_process() { # start_process N
  ! alive "$dir/node-$1.pid" >/dev/null || return 0
  ! listening "$((port + $1))" || die "port $((port + $1)) is taken by a process that is not ours"
  configure "$1"
  launch "$dir" "node-$1" "$server" "$dir/node-$1.conf"
}

# Every slot is served, as this node sees it, and it is a primary with a replica or a replica that is linked to its primary.
whole() {
  ask "$1" cluster info | grep -q '^cluster_state:ok' && ask "$1" cluster info | grep -q '^cluster_slots_ok:16384' &&
    ask "$1" info replication | tr -d '\r' | grep -qE '^(master_link_status:up|connected_slaves:[1-9])$'
}

create() {
  local n addresses=()
  for ((n = 0; n < nodes; n++)); do addresses+=("127.0.0.1:$((port + n))"); done
  "$cli" --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes >"$dir/create.log" 2>&1 ||
    { tail -n 20 "$dir/create.log" >&2; die "the cluster could not be created"; }
}

start() {
  local n
  need "$server"
  need "$cli"
  lock "$dir"
  if [ ! -f "$dir/created" ]; then
    # An earlier attempt was broken off: nodes that know half a cluster cannot be made into one, and nobody has used them.
    for ((n = 0; n < nodes; n++)); do end_all "$dir/node-$n.pid"; rm -rf "$dir/node-$n"; done
  fi
  for ((n = 0; n < nodes; n++)); do start_process "$n"; done
  for ((n = 0; n < nodes; n++)); do wait_for "$dir" "node-$n" answers "$n"; done
  if [ ! -f "$dir/created" ]; then create; touch "$dir/created"; fi
  for ((n = 0; n < nodes; n++)); do wait_for "$dir" "node-$n" whole "$n"; done
  status
}

status() {
  local n code=0
  for ((n = 0; n < nodes; n++)); do
    state "redis node $n ($(ask "$n" role 2>/dev/null | head -n 1 || true))" "$dir/node-$n.pid" "$((port + n))" || code=1
  done
  return "$code"
}

stop() {
  local n files=()
  lock "$dir"
  for ((n = 0; n < nodes; n++)); do files+=("$dir/node-$n.pid"); done
  end_all "${files[@]}"
}

verb=${1:-}
shift || true
case $verb in
  start | stop | status) read_arguments "$@"; "$verb" ;;
  start-one)
    n=${1:?which node}; shift; read_arguments "$@"
    lock "$dir"; start_process "$n"; wait_for "$dir" "node-$n" answers "$n" ;;
  kill-one)
    n=${1:?which node}; shift; read_arguments "$@"
    lock "$dir"; kill_one "$dir/node-$n.pid" ;;
  *) usage "${BASH_SOURCE[0]}" ;;
esac
