#!/usr/bin/env bash
# An opening day on a machine of its own, from the package to the books: a fresh Debian gets the package, a rehearsal, Prometheus and Alertmanager with
# what deploy/ has, a line, crowds that buy, a process that is killed, its alert as a card for Teams, every query of the dashboards that one node fills,
# an upgrade under load, and at the end every ticket in its order, sold = stock, and ledger and engine equal.
#
#   make day                                            builds and installs what it needs, and plays it
#   scripts/day.sh [FILE]                               the program FILE (target/release/bunho) is packed, or the package FILE.deb taken. As root.
#
# Four minutes. It needs target/release/bunho-load (taken from beside the program where it is there), what scripts/setup.sh installs (Prometheus,
# Alertmanager) and what scripts/package_test.sh tools installs. What came is left in target/day: cards, rehearsal, logs.
set -euo pipefail
cd "$(dirname "$0")/.."

given=${1:-target/release/bunho}
load=$(dirname "$given")/bunho-load
[ -x "$load" ] || load=target/release/bunho-load
load=$(realpath "$load")
alertmanager=$PWD/target/watch/bin/alertmanager
for tool in "$load" "$alertmanager" "$(command -v prometheus || echo prometheus)"; do
  [ -x "$tool" ] || { echo "$tool is missing; 'make day' builds bunho-load and calls scripts/setup.sh, which installs the rest" >&2; exit 69; }
done
# shellcheck source=scripts/machine.sh
. scripts/machine.sh day

# Programs of this machine in the other one's network: it is the operator's desk.
beside() { exec nsenter --target "$leader" --net -- "$@"; }
programs=()
close() {
  for pid in "${programs[@]}"; do kill "$pid" 2>/dev/null || true; done
  over
}
cards=$work/cards.tsv
card() { grep -a "^/teams" "$cards" | grep -aF -- "$1"; }
ranks() { (beside python3 scripts/day/line.py "$url" ranks "$work/tokens" LINE); }
# Everybody has their place: nobody is lost, who was in stays in, and those who wait stand in the order they came in.
in_order() {
  ranks >"$work/ranks.now" || fail "the line did not answer"
  if grep lost "$work/ranks.now"; then fail "a place is lost"; fi
  grep -v in "$work/ranks.now" | sort -nc || fail "the order has changed"
  say "$1: $(grep -c in "$work/ranks.now") of $people are in, the others stand as they came, ranks $(grep -v in "$work/ranks.now" | sed -n '1p;$p' | paste -sd- -)"
}
crowd() { (beside "$load" mixed --target "$url" --admin-key "$key" --rate "$1" --duration "$2" --limit 400 --window-seconds 10 --slot-seconds 1 --poll-ms 500 \
  --quantity 1000 --pay-ms 300 --seed 8); }

pack "$given"
boot --private-network
trap close EXIT
install_package
key=$(inside cat /var/lib/bunho/admin.key)

# The hour before.
people=60
admin -X PUT "$url/admin/api/zones/LINE" -d '{"entry_limit_per_minute":6,"window_seconds":10,"slot_seconds":1,"abandon_after_seconds":3600,"pass_ttl_seconds":3600,"session_seconds":3600}' >/dev/null
admin -X PUT "$url/admin/api/offers/drop" -d '{"kind":"goods","quantity":500,"zone":"LINE"}' >/dev/null
# 1, not ready, is a word on this machine, not on Bunho; the figures are told. Anything else is a failure.
rehearsed=0
inside bunho rehearse --data /var/lib/bunho --zone LINE --at 10:00 --people 2000 >"$work/rehearsal.txt" 2>&1 || rehearsed=$?
[ "$rehearsed" -le 1 ] || fail "the rehearsal ended with $rehearsed: $(cat "$work/rehearsal.txt")"
say "rehearsed (exit $rehearsed): $(grep -m1 . "$work/rehearsal.txt")"

rm -rf "$work/watch"
mkdir -p "$work/watch/secrets"
cp -r deploy/prometheus deploy/alertmanager "$work/watch/"
for name in teams slack webhook; do echo "http://127.0.0.1:9099/$name" >"$work/watch/secrets/$name"; done
sed -i "s|/etc/alertmanager/secrets|$work/watch/secrets|" "$work/watch/alertmanager/alertmanager.yml"
: >"$cards"
(beside python3 scripts/day/catcher.py 9099 "$cards") & programs+=($!)
(beside "$alertmanager" --config.file="$work/watch/alertmanager/alertmanager.yml" --storage.path="$work/watch/alerts" --web.listen-address=127.0.0.1:9093 \
  --cluster.listen-address= >"$work/alertmanager.log" 2>&1) & programs+=($!)
(beside prometheus --config.file="$work/watch/prometheus/prometheus.yml" --storage.tsdb.path="$work/watch/data" --web.listen-address=127.0.0.1:9090 \
  >"$work/prometheus.log" 2>&1) & programs+=($!)
scraped() { inside curl -fsS 'http://127.0.0.1:9090/api/v1/query?query=up%7Bjob%3D%22bunho%22%7D' | grep -q '"1"\]'; }
until_true "Prometheus has scraped it" 60 scraped
say "watched, as deploy/prometheus and deploy/alertmanager say"

# It opens.
(beside python3 scripts/day/line.py "$url" join LINE "$people" "$work/tokens")
crowd 50 60s >"$work/crowd.txt" 2>&1 || fail "the crowd: $(tail -20 "$work/crowd.txt")"
say "a crowd of $(grep -aoE '[0-9,]+ people nobody was told' "$work/crowd.txt" | cut -d' ' -f1) waited and bought: $(tail -1 "$work/crowd.txt")"
in_order "after it"
until_true "a card says that a line forms" 90 card "A line forms at LINE"
say "a card for Teams: $(card 'A line forms at LINE' | grep -aom1 '🟡[^"]*')"
(beside python3 scripts/day/panels.py http://127.0.0.1:9090 deploy/grafana/dashboards/bunho-{zones,offers,nodes}.json) >"$work/panels.txt" || fail "$(cat "$work/panels.txt")"
say "$(cat "$work/panels.txt")"

# It is killed, and what starts it again takes its time.
mkdir -p "$machine/etc/systemd/system/bunho.service.d"
printf '[Service]\nRestartSec=50\n' >"$machine/etc/systemd/system/bunho.service.d/slow.conf"
inside systemctl daemon-reload
inside systemctl kill --signal=KILL bunho
until_true "a card says that the node is down" 60 card "does not answer"
say "killed; a card for Teams: $(card 'does not answer' | grep -aom1 '🔴[^"]*')"
until_true "systemd has started another" 90 ready
in_order "started again by systemd"
until_true "a card says that it is over" 120 card "Over (해제): 127.0.0.1:8080"
say "a card for Teams: $(card 'Over (해제): 127' | grep -aom1 '🟢[^"]*')"

# An upgrade while a crowd is there. Alone it has no other node to send it to: people find it away for as long as it starts.
before=$(pid)
crowd 30 40s >"$work/crowd-upgrade.txt" 2>&1 & crowd=$!
sleep 10
inside dpkg --install /new.deb >"$work/upgrade.log" 2>&1 || fail "upgrade: $(cat "$work/upgrade.log")"
until_true "the newer one is ready" 30 ready
[ "$(pid)" != "$before" ] || fail "the older process goes on"
wait "$crowd" || true
# A line that stood still for as long as its only node was away has told people too little and let fewer in than it might have: nothing else may be broken.
broken=$(grep -a '^ ✗' "$work/crowd-upgrade.txt" | grep -av '✗ estimates\|✗ capacity used' || true)
[ -z "$broken" ] || fail "the crowd of the upgrade: $broken"
grep -aq '✓ never lost' "$work/crowd-upgrade.txt" || fail "the crowd of the upgrade: $(tail -20 "$work/crowd-upgrade.txt")"
say "upgraded with a crowd inside: $(grep -ac '^ ✓' "$work/crowd-upgrade.txt") promises kept; $(grep -aoE '[0-9,]+ of [0-9,]+ calls failed' "$work/crowd-upgrade.txt"), and the line stood still meanwhile"
in_order "after the upgrade"

# The books.
inside bunho reconcile --data /var/lib/bunho --url "$url" --key "$key" >"$work/books.txt" 2>&1 || fail "the books: $(cat "$work/books.txt")"
say "the books: $(tail -1 "$work/books.txt")"
