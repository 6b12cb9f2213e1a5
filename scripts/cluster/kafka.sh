#!/usr/bin/env bash
# Kafka in KRaft mode on loopback, from its Maven artifacts, for daily work (one broker) and for fault tests (three).
#
#   scripts/cluster/kafka.sh start|stop|status [FOLDER [BASE_PORT]]
#   scripts/cluster/kafka.sh start-one|kill-one N [FOLDER [BASE_PORT]]     one broker of the three, counted from 1
#   scripts/cluster/kafka.sh fetch                                         only makes sure that the jars are there
#
#   BROKERS=1|3        how many; read at the first start in a folder, remembered after that
#   KAFKA_FOLDER       default target/cluster/kafka          KAFKA_PORT   default 19092
#   KAFKA_LIBS         the jars; default target/cluster/kafka/libs, fetched there once
#   KAFKA_HEAP         default 384m
#
# Broker N serves clients on BASE_PORT + 2(N-1) and the other controllers on the port after it. Every broker is a controller too.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=process.sh
source "$here/process.sh"

root=$(cd "$here/../.." && pwd)
libs=${KAFKA_LIBS:-$root/target/cluster/kafka/libs}

read_arguments() {
  dir=${1:-${KAFKA_FOLDER:-$root/target/cluster/kafka}}
  heap=${KAFKA_HEAP:-384m}
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  remembered_port "$dir" "${2:-${KAFKA_PORT:-}}" 19092
  brokers=${BROKERS:-1}
  [ ! -f "$dir/brokers" ] || brokers=$(<"$dir/brokers")
  [[ $brokers =~ ^[1-9]$ ]] || die "BROKERS must be 1 to 9"
}

# Fetches the jars once. Maven writes beside their place, which they take in one step: a broken fetch leaves nothing half there.
fetch() {
  [ ! -d "$libs" ] || return 0
  need mvn
  mkdir -p "$(dirname "$libs")"
  (
    flock -w 600 8
    [ ! -d "$libs" ] || exit 0
    rm -rf "$libs.new" # what an attempt left that was broken off
    echo "fetching Kafka's jars into $libs"
    "$root/scripts/again.sh" mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$libs.new"
    mv "$libs.new" "$libs"
  ) 8>"$libs.lock"
}

java_of() { # java_of HEAP CLASS ARGUMENTS...
  local heap=$1
  shift
  JAVA=(java "-Xms$heap" "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ" -cp "$libs/*" "$@")
}

client_port() { echo $((port + 2 * ($1 - 1))); }

voters() {
  local n list=()
  for ((n = 1; n <= brokers; n++)); do list+=("$n@127.0.0.1:$(($(client_port "$n") + 1))"); done
  (IFS=,; echo "${list[*]}")
}

configure() { # configure N
  local replicas=$((brokers < 3 ? brokers : 3)) client
  client=$(client_port "$1")
  cat >"$dir/broker-$1.properties" <<EOF
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$(voters)
listeners=CLIENT://127.0.0.1:$client,CONTROLLER://127.0.0.1:$((client + 1))
advertised.listeners=CLIENT://127.0.0.1:$client
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs=$dir/data-$1
# Topics are made on purpose, with their settings.
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$((replicas > 1 ? 2 : 1))
unclean.leader.election.enable=false
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$((replicas > 1 ? 2 : 1))
transaction.state.log.num.partitions=4
# What one machine with a handful of clients needs, instead of what a data centre does.
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
# Consumers that start together need not wait 3 s for one another.
group.initial.rebalance.delay.ms=0
# A broker that is gone is seen within 6 s; its successor comes back within seconds, too.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
controlled.shutdown.enable=$([ "$brokers" -gt 1 ] && echo true || echo false)
EOF
}

prepare() {
  local n
  need java
  fetch
  echo "$brokers" >"$dir/brokers"
  # 16 bytes in base64, without the padding and the letters that Kafka does not take; the folder's own, so that two instances never mix.
  [ -s "$dir/cluster-id" ] || { head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=' >"$dir/cluster-id"; }
  for ((n = 1; n <= brokers; n++)); do
    configure "$n"
    [ -f "$dir/data-$n/meta.properties" ] && continue
    java_of 96m kafka.tools.StorageTool format --cluster-id "$(<"$dir/cluster-id")" --config "$dir/broker-$n.properties"
    "${JAVA[@]}" >>"$dir/format.log" 2>&1 9>&- || { tail -n 20 "$dir/format.log" >&2; die "$dir/data-$n could not be formatted"; }
  done
}

start_process() { # start_process N
  local client
  ! alive "$dir/broker-$1.pid" >/dev/null || return 0
  client=$(client_port "$1")
  ! listening "$client" || die "port $client is taken by a process that is not ours"
  java_of "$heap" kafka.Kafka "$dir/broker-$1.properties"
  launch "$dir" "broker-$1" "${JAVA[@]}"
}

start() {
  local n
  lock "$dir"
  prepare
  for ((n = 1; n <= brokers; n++)); do start_process "$n"; done
  for ((n = 1; n <= brokers; n++)); do wait_for "$dir" "broker-$n" listening "$(client_port "$n")"; done
  status
}

status() {
  local n code=0
  for ((n = 1; n <= brokers; n++)); do state "kafka broker $n" "$dir/broker-$n.pid" "$(client_port "$n")" || code=1; done
  return "$code"
}

stop() {
  local n files=()
  lock "$dir"
  for ((n = 1; n <= brokers; n++)); do files+=("$dir/broker-$n.pid"); done
  end_all "${files[@]}"
}

verb=${1:-}
shift || true
case $verb in
  start | stop | status) read_arguments "$@"; "$verb" ;;
  fetch) fetch ;;
  start-one)
    n=${1:?which broker}; shift; read_arguments "$@"
    lock "$dir"; prepare; start_process "$n"; wait_for "$dir" "broker-$n" listening "$(client_port "$n")" ;;
  kill-one)
    n=${1:?which broker}; shift; read_arguments "$@"
    lock "$dir"; kill_one "$dir/broker-$n.pid" ;;
  *) usage "${BASH_SOURCE[0]}" ;;
esac
