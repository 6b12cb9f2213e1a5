#!/usr/bin/env bash
# Puts Bunho under the load tools that the source documents used, and compares what the tool was told with what Bunho has afterwards.
#
#   scripts/loadtest.sh k6|jmeter [smoke|full]     smoke (default): half a minute at most; full: the documents' sizes, as far as one machine bears them
#   scripts/loadtest.sh install k6|jmeter          only makes sure that the tool is there
#
#   BASE_URL           a Bunho that runs, of either shape, with BUNHO_ADMIN_KEY; without it one is started in a temporary folder, and ended
#   I_OWN_THIS_TARGET  yes: BASE_URL may be another machine
#   BUNHO_PROGRAM      default: the newer of target/release/bunho and target/debug/bunho
#   SERVER_PORT        port of the server that is started; default: a free one
#   OUT                where the tool's own files are left; default target/loadtest/out/TOOL-SIZE
#   LIMIT, QUANTITY    k6: who may enter in any window, and how many units there are; jmeter: QUANTITY
#   VUS, P95_MS, …     k6: the settings of loadtest/k6/waiting-room.js
#   USERS, PAY_MS      jmeter: those of loadtest/jmeter/flash-sale.jmx
#
# Zone and offer are made anew for each run, and closed after it. Exit codes: 0 all was kept; 1 a threshold was missed or a promise broken;
# 64 what is asked for cannot be done; 69 Bunho does not answer, or the tool cannot be had.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=cluster/process.sh
source "$here/cluster/process.sh"

K6_VERSION=v1.8.1
tools=$root/target/loadtest
jmeter_home=$tools/jmeter

refuse() { local code=$1; shift; echo "${0##*/}: $*" >&2; exit "$code"; }
# What process.sh gives up on is a program that is missing or does not come up: not a verdict on Bunho, which 1 is.
die() { refuse 69 "$@"; }

# --- The tools ---

# One that is on the path is taken as it is; else it is compiled once, beside the project's other products.
install_k6() {
  k6=$(command -v k6) || k6=$tools/bin/k6
  [ ! -x "$k6" ] || return 0
  command -v go >/dev/null || refuse 69 "k6 is missing, and so is Go to compile it; one of them is needed"
  echo "compiling k6 $K6_VERSION into $tools/bin, once; this takes minutes"
  GOBIN=$tools/bin "$here/again.sh" go install "go.k6.io/k6@$K6_VERSION" || refuse 69 "k6 could not be compiled"
}

# JMeter is laid out as in its own archive, where its starter looks: bin, lib, lib/ext. It takes its place in one step, so that a broken
# fetch leaves nothing half there.
install_jmeter() {
  local new=$jmeter_home.new pom=$root/loadtest/jmeter/pom.xml
  [ ! -d "$jmeter_home" ] || return 0
  need java
  need mvn
  mkdir -p "$tools"
  (
    flock -w 600 8
    [ ! -d "$jmeter_home" ] || exit 0
    # With Maven's marks of an earlier time nothing would be unpacked.
    rm -rf "$new" "${pom%/*}/target/dependency-maven-plugin-markers"
    mkdir -p "$new/lib/ext"
    echo "fetching JMeter's jars into $jmeter_home, once"
    { "$here/again.sh" mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$new/lib" &&
      "$here/again.sh" mvn -q -B -f "$pom" dependency:unpack-dependencies -DincludeArtifactIds=ApacheJMeter_config -Dmdep.unpack.includes='bin/*' -DoutputDirectory="$new"; } ||
      refuse 69 "Maven could not fetch JMeter"
    rm "$new"/lib/ApacheJMeter_config-*.jar
    mv "$new"/lib/ApacheJMeter-*.jar "$new/bin/ApacheJMeter.jar"
    mv "$new"/lib/ApacheJMeter_*.jar "$new/lib/ext/"
    mv "$new" "$jmeter_home"
  ) 8>"$jmeter_home.lock"
}

install() {
  case $tool in k6) install_k6 ;; jmeter) install_jmeter ;; *) usage "${BASH_SOURCE[0]}" ;; esac
}

# --- Bunho ---

find_program() {
  local candidates=()
  [ ! -x "$root/target/release/bunho" ] || candidates+=("$root/target/release/bunho")
  [ ! -x "$root/target/debug/bunho" ] || candidates+=("$root/target/debug/bunho")
  program=${BUNHO_PROGRAM:-}
  # shellcheck disable=SC2012 # the names are known
  [ -n "$program" ] || ((${#candidates[@]} == 0)) || program=$(ls -t "${candidates[@]}" | head -1)
  [ -x "$program" ] || refuse 64 "there is no bunho to run; make build makes one, or BUNHO_PROGRAM names it"
}

# The one that was named, or one of our own. Sets url and BUNHO_ADMIN_KEY.
reach_server() {
  url=${BASE_URL:-}
  url=${url%/}
  if [ -n "$url" ]; then
    [[ $url =~ ^https?://(127\.[0-9.]+|localhost|\[::1\])(:[0-9]+)?$ || ${I_OWN_THIS_TARGET:-} = yes ]] ||
      refuse 64 "$url is not this machine; where it is yours, say I_OWN_THIS_TARGET=yes"
    [ -n "${BUNHO_ADMIN_KEY:-}" ] || refuse 64 "BUNHO_ADMIN_KEY is needed to make a zone and an offer at $url"
    curl -fsS -m 5 -o /dev/null "$url/readyz" || refuse 69 "no Bunho is ready at $url; make run or make cluster starts one"
    return
  fi
  BUNHO_ADMIN_KEY=bk_$(head -c 24 /dev/urandom | base64 | tr '+/' 'ab')
  export BUNHO_ADMIN_KEY
  launch "$work" server "$program" serve --data "$work/data" --listen "127.0.0.1:${SERVER_PORT:-0}"
  wait_for "$work" server grep -q '^serving ' "$work/server.log"
  url=$(sed -n 's/^serving //p' "$work/server.log" | head -1)
  wait_for "$work" server curl -fsS -o /dev/null "$url/readyz"
}

bunho() { "$program" "$@" --url "$url"; }

# Zone and offer of this run have one name: put zone|offer BODY
put() {
  bunho "$1" put "$name" "$2" >"$work/put" 2>&1 || { cat "$work/put" >&2; refuse 69 "$1 $name could not be made at $url"; }
}

# Number NAME of the offer.
offer_has() { grep -o "\"$1\":[0-9]*" "$work/offer.json" | head -1 | cut -d: -f2; }

# --- The runs ---

broken=0
must() { # must SENTENCE TEST...
  local sentence=$1
  shift
  if test "$@"; then echo "  kept   $sentence"; else echo "  BROKEN $sentence"; broken=1; fi
}

# A line in front of a coupon: some hundreds enter, and there is less than they want.
run_k6() {
  local window slot poll settings
  if [ "$size" = smoke ]; then
    # It is a part of make test, beside whatever else the machine does: what is slow there says nothing, what hangs does.
    export VUS=${VUS:-60} PAUSE_MS=${PAUSE_MS:-500} P95_MS=${P95_MS:-5000}
    export STAGE1_DURATION=${STAGE1_DURATION:-3s} STAGE2_DURATION=${STAGE2_DURATION:-7s}
    export STAGE3_DURATION=${STAGE3_DURATION:-8s} STAGE4_DURATION=${STAGE4_DURATION:-2s}
    limit=${LIMIT:-60} quantity=${QUANTITY:-180} window=5 slot=1 poll=500
  else
    # As in 002, as far as a generator beside the server can go: k6 keeps a connection and a script engine for each of them.
    export VUS=${VUS:-1000}
    limit=${LIMIT:-3000} quantity=${QUANTITY:-7500} window=60 slot=6 poll=3000
  fi
  settings="\"entry_limit_per_minute\": $limit, \"window_seconds\": $window, \"slot_seconds\": $slot, \"poll_interval_ms\": $poll"
  # Each names the other, so one of them comes twice.
  put zone "{$settings}"
  put offer "{\"kind\": \"coupon\", \"quantity\": $quantity, \"zone\": \"$name\"}"
  put zone "{$settings, \"offer\": \"$name\"}"
  # A connection for each of them.
  ulimit -n "$(ulimit -H -n)"
  # k6 ends by itself: its stages do. On Ctrl-C it says what it has, and tee is to hear it.
  BASE_URL=$url ZONE=$name OFFER=$name SUMMARY=$out/summary.json \
    "$k6" run --quiet --no-usage-report "$root/loadtest/k6/waiting-room.js" | tee -i "$out/k6.txt" || { echo "k6 ended with ${PIPESTATUS[0]}"; broken=1; }
}

judge_k6() {
  local taken
  taken=$(grep -o '"claims_taken_count":[0-9]*' "$out/summary.json" | cut -d: -f2)
  # k6 cuts off people who are in the middle at the end, so the server may have given what k6 was no longer there to hear.
  must "every unit that k6 was told of is taken: $taken told, $(offer_has confirmed) taken" "${taken:-0}" -le "$(offer_has confirmed)"
}

# The plan of 001: as many units as buyers. The short run has fewer units, so that being sold out is part of it.
run_jmeter() {
  local users=${USERS:-1000} host port scheme
  quantity=${QUANTITY:-$users}
  if [ "$size" = smoke ]; then users=${USERS:-200} quantity=${QUANTITY:-150}; fi
  put offer "{\"kind\": \"goods\", \"quantity\": $quantity, \"per_user_limit\": 1, \"hold_seconds\": 600}"
  scheme=${url%%://*} host=${url#*://}
  port=${host##*:}
  [[ $port =~ ^[0-9]+$ ]] || port=$([ "$scheme" = https ] && echo 443 || echo 80)
  host=${host%:"$port"}
  (umask 077; echo "key=$BUNHO_ADMIN_KEY" >"$work/key.properties")
  rm -f "$out/samples.csv"
  (
    cd "$out"
    timeout --foreground --kill-after=10 300 java -Xms256m -Xmx768m -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true -Djava.net.preferIPv4Stack=true \
      -jar "$jmeter_home/bin/ApacheJMeter.jar" -n -t "$root/loadtest/jmeter/flash-sale.jmx" -l "$out/samples.csv" -j "$out/jmeter.log" \
      -q "$work/key.properties" -Jscheme="$scheme" -Jhost="$host" -Jport="$port" -Joffer="$name" -Jusers="$users" -Jpay_ms="${PAY_MS:-0}"
  ) >"$out/jmeter.txt" 2>&1 || { tail -n 20 "$out/jmeter.txt"; echo "JMeter ended with an error; its log is $out/jmeter.log"; broken=1; }
  grep '^summary =' "$out/jmeter.txt" || true
  table_of_samples "$out/samples.csv"
  must "all $users buyers came" "$(told claim)" -eq "$users"
}

# Answers with code $2 (any, where there is none) to requests named $1.
told() { awk -F, -v name="$1" -v code="${2:-}" 'NR > 1 && $3 == name && (code == "" || $4 == code)' "$out/samples.csv" | wc -l; }

# JMeter's own Summary Report needs its window; this is the same from its file of samples: timeStamp,elapsed,label,responseCode,….
table_of_samples() {
  echo
  printf '  %-12s %8s %8s %8s %8s %8s %8s  %s\n' request count mean p50 p95 p99 max 'ms; answers'
  for label in claim 'claim again' confirm release; do
    awk -F, -v name="$label" 'NR > 1 && $3 == name { print $2, $4 }' "$1" | sort -n | awk -v name="$label" '
      { ms[NR] = $1; sum += $1; codes[$2]++ }
      function at(q) { i = int(NR * q + 0.9999); return ms[i < 1 ? 1 : i] }
      END {
        if (NR == 0) exit
        for (code in codes) answers = answers sprintf(" %d × %s", codes[code], code)
        printf "  %-12s %8d %8.1f %8d %8d %8d %8d %s\n", name, NR, sum / NR, at(0.5), at(0.95), at(0.99), ms[NR], answers
      }'
  done
  awk -F, 'NR > 1 { end = $1 + $2; if (!first || $1 < first) first = $1; if (end > last) last = end }
    END { if (NR > 1) printf "\n  %d requests in %.2f s: %.1f a second\n", NR - 1, (last - first) / 1000, (NR - 1) * 1000 / (last - first) }' "$1"
  echo
}

judge_jmeter() {
  local held confirmed failed taken
  failed=$(awk -F, 'NR > 1 && $8 != "true"' "$out/samples.csv" | wc -l)
  must "no request failed, none was answered wrongly: $failed" "$failed" -eq 0
  confirmed=$(told confirm 200)
  must "who was told that it is paid has it: $confirmed told, $(offer_has confirmed) confirmed" "$confirmed" -eq "$(offer_has confirmed)"
  taken=$(($(told claim 201) - $(told release 200)))
  held=$((taken - confirmed))
  must "who was told that it is held and did not pay has it held: $held told, $(offer_has held) held" "$held" -eq "$(offer_has held)"
}

# A generator that shares its cores with the server measures how long itself had to wait, too. This is what the server measured meanwhile; one that
# serves others as well has their requests in it.
server_says() {
  [ -z "${BASE_URL:-}" ] || return 0
  curl -fsS -m 10 "$url/metrics" | awk '
    /^bunho_http_request_duration_seconds_(sum|count)\{method="POST",route="\/(traffic|v1)/ {
      what = $0
      sub(/^[^"]*"POST",route="/, "", what)
      sub(/".*/, "", what)
      if ($0 ~ /_sum\{/) sum[what] = $NF; else count[what] = $NF
    }
    END { for (what in count) if (count[what] > 0)
      printf "  POST %-28s %8d times, %.2f ms on average within the server\n", what, count[what], sum[what] * 1000 / count[what] }' | sort
}

judge() {
  curl -fsS -m 10 -o "$work/offer.json" "$url/v1/offers/$name" || refuse 69 "offer $name cannot be read at $url"
  echo
  must "nothing is oversold: $(offer_has held) held and $(offer_has confirmed) confirmed of $(offer_has quantity)" \
    $(($(offer_has held) + $(offer_has confirmed))) -le "$(offer_has quantity)"
  must "the offer's numbers add up: $(offer_has remaining) remain" \
    $(($(offer_has remaining) + $(offer_has held) + $(offer_has confirmed))) -eq "$(offer_has quantity)"
  case $tool in k6) judge_k6 ;; jmeter) judge_jmeter ;; esac
  # Claims that stay held would keep the ledger busy with their end; nobody buys any more.
  bunho offer close "$name" >/dev/null || true
  if bunho reconcile >"$out/reconcile.txt" 2>&1; then echo "  kept   reconcile: $(tail -n 1 "$out/reconcile.txt")"; else
    cat "$out/reconcile.txt"
    echo "  BROKEN reconcile finds differences"
    broken=1
  fi
}

main() {
  tool=${1:-} size=${2:-smoke}
  case $tool in
    k6 | jmeter) ;;
    install)
      tool=${2:-}
      install
      exit 0 ;;
    *) usage "${BASH_SOURCE[0]}" ;;
  esac
  case $size in smoke | full) ;; *) usage "${BASH_SOURCE[0]}" ;; esac
  need curl
  find_program
  install
  out=${OUT:-$tools/out/$tool-$size}
  mkdir -p "$out"
  out=$(cd "$out" && pwd)
  work=$(mktemp -d)
  trap 'end_all "$work/server.pid" || true; rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM
  reach_server
  name=loadtest-$tool-$(date +%s)
  echo "$tool against $url, $size"
  case $tool in k6) run_k6 ;; jmeter) run_jmeter ;; esac
  server_says
  judge
  exit "$broken"
}

main "$@"
