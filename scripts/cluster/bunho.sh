#!/usr/bin/env bash
# Bunho nodes of the cluster shape on loopback, over the Redis, Kafka and database that cluster.sh started beside them.
#
#   scripts/cluster/bunho.sh start|stop|status [FOLDER [BASE_PORT]]
#   scripts/cluster/bunho.sh start-one|kill-one N [FOLDER [BASE_PORT]]     one node, counted from 1
#   scripts/cluster/bunho.sh environment N [FOLDER [BASE_PORT]]            the settings that node N is started with
#
#   NODES_COUNT      how many; default 2, remembered after the first start
#   NODES_FOLDER     default target/cluster/bunho     NODES_PORT   default 18081; the others follow
#   LEDGER           postgres (default) or mysql; without it what cluster.sh made
#   BUNHO_PROGRAM    default target/release/bunho
#   BUNHO_DEMO       yes (default) adds the offers and the zone that README.md talks about, where they are missing
#   BUNHO_ADMIN_KEY  the administrator's key; without it one is made at the first start and kept in FOLDER/admin.key
#   BUNHO_X__Y       any setting; goes over what is set here, except a node's own address and folder
#
# Nodes start one after the other, each when /readyz of the one before it says so, so that what the first start of a cluster makes (topic,
# tables, secrets, demo) is made once. FOLDER/node-N is a node's own, FOLDER/secrets is shared, as a cluster's secrets have to be.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=process.sh
source "$here/process.sh"

root=$(cd "$here/../.." && pwd)
program=${BUNHO_PROGRAM:-$root/target/release/bunho}

read_arguments() {
  dir=${1:-${NODES_FOLDER:-$root/target/cluster/bunho}}
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  remembered_port "$dir" "${2:-${NODES_PORT:-}}" 18081
  count=${NODES_COUNT:-2}
  [ ! -f "$dir/count" ] || count=$(<"$dir/count")
  [[ $count =~ ^[1-9]$ ]] || die "NODES_COUNT must be 1 to 9"
}

node_port() { echo $((port + $1 - 1)); }

# The port of a component beside this one: the one that its folder was made with, else the default.
port_of() { if [ -f "$dir/../$1/base-port" ]; then cat "$dir/../$1/base-port"; else echo "$2"; fi; }

redis_nodes() {
  local n first list=()
  first=$(port_of redis 17000)
  for ((n = 0; n < 6; n++)); do list+=("\"redis://127.0.0.1:$((first + n))\""); done
  (IFS=,; echo "[${list[*]}]")
}

kafka_brokers() {
  local n first brokers list=()
  first=$(port_of kafka 19092)
  brokers=$(cat "$dir/../kafka/brokers" 2>/dev/null || echo 1)
  for ((n = 0; n < brokers; n++)); do list+=("127.0.0.1:$((first + 2 * n))"); done
  (IFS=,; echo "${list[*]}")
}

ledger_url() {
  local made
  made=$(cat "$dir/../ledger" 2>/dev/null || echo postgres)
  case ${LEDGER:-$made} in
    postgres) echo "postgres://bunho@127.0.0.1:$(port_of postgres 17432)/bunho" ;;
    mysql | mariadb) echo "mysql://bunho@127.0.0.1:$(port_of mariadb 17306)/bunho" ;;
    *) die "LEDGER must be postgres or mysql" ;;
  esac
}

set_default() { [ -n "${!1:-}" ] || export "$1=$2"; }

# The settings of a node: set_environment N. Callers run it in a shell of their own.
set_environment() {
  local replication=1
  [ "$(cat "$dir/../kafka/brokers" 2>/dev/null || echo 1)" -lt 3 ] || replication=3
  set_default BUNHO_ENGINE__SHAPE cluster
  set_default BUNHO_CLUSTER__SECRETS_DIR "$dir/secrets"
  set_default BUNHO_REDIS__NODES "$(redis_nodes)"
  set_default BUNHO_KAFKA__BROKERS "$(kafka_brokers)"
  set_default BUNHO_KAFKA__TOPIC bunho
  set_default BUNHO_KAFKA__PARTITIONS 12
  set_default BUNHO_KAFKA__REPLICATION "$replication"
  set_default BUNHO_LEDGER__URL "$(ledger_url)"
  export BUNHO_SERVER__LISTEN BUNHO_DATA__DIR="$dir/node-$1"
  BUNHO_SERVER__LISTEN=127.0.0.1:$(node_port "$1")
}

environment() { (set_environment "$n" && env | grep '^BUNHO_[A-Z]*__' | sort); }

# Both nodes must be given the same key, and whoever started them must find it again.
admin_key() {
  [ -z "${BUNHO_ADMIN_KEY:-}" ] || return 0
  if [ ! -s "$dir/admin.key" ]; then
    (umask 077 && echo "bk_$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')" >"$dir/admin.key.new")
    mv "$dir/admin.key.new" "$dir/admin.key"
  fi
  BUNHO_ADMIN_KEY=$(<"$dir/admin.key")
  export BUNHO_ADMIN_KEY
}

ready() { curl -fsS -m 5 -o /dev/null "http://127.0.0.1:$(node_port "$1")/readyz"; }

start_process() { # start_process N
  ! alive "$dir/node-$1.pid" >/dev/null || return 0
  ! listening "$(node_port "$1")" || die "port $(node_port "$1") is taken by a process that is not ours"
  local demo=()
  [ "${BUNHO_DEMO:-yes}" != yes ] || demo=(--demo)
  (set_environment "$1" && launch "$dir" "node-$1" "$program" serve "${demo[@]}")
}

prepare() {
  need curl
  [ -x "$program" ] || die "$program is missing; 'make build' makes it"
  echo "$count" >"$dir/count"
  mkdir -p "$dir/secrets"
  chmod 700 "$dir/secrets"
  admin_key
}

start() {
  local n
  lock "$dir"
  prepare
  for ((n = 1; n <= count; n++)); do
    start_process "$n"
    wait_for "$dir" "node-$n" ready "$n"
  done
  status
}

status() {
  local n code=0
  for ((n = 1; n <= count; n++)); do state "bunho node $n" "$dir/node-$n.pid" "$(node_port "$n")" || code=1; done
  return "$code"
}

stop() {
  local n files=()
  lock "$dir"
  for ((n = 1; n <= count; n++)); do files+=("$dir/node-$n.pid"); done
  end_all "${files[@]}"
}

verb=${1:-}
shift || true
case $verb in
  start | stop | status) read_arguments "$@"; "$verb" ;;
  start-one)
    n=${1:?which node}; shift; read_arguments "$@"
    lock "$dir"; prepare; start_process "$n"; wait_for "$dir" "node-$n" ready "$n" ;;
  kill-one)
    n=${1:?which node}; shift; read_arguments "$@"
    lock "$dir"; kill_one "$dir/node-$n.pid" ;;
  environment) n=${1:?which node}; shift; read_arguments "$@"; environment ;;
  *) usage "${BASH_SOURCE[0]}" ;;
esac
