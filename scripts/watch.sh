#!/usr/bin/env bash
# Checks what watches Bunho with its own tools, as a part of `make test`: the configuration and rules of Prometheus, a test that fires each alert and one
# that keeps it silent, and the configuration and cards of Alertmanager. What they do together is tried in crates/server/tests/cluster/watch.
set -euo pipefail
cd "$(dirname "$0")/../deploy"
amtool=../target/watch/bin/amtool

promtool check config --lint=all --lint-fatal prometheus/prometheus.yml
promtool test rules prometheus/tests/*.yaml

# Each alert is fired by a test, and kept silent by one; each has its steps in the runbook.
missing=0
while read -r alert; do
  grep -hq "{ labels: 'ALERTS{alertname=\"$alert\", alertstate=\"firing\"" prometheus/tests/*.yaml || { echo "no test fires $alert" >&2; missing=1; }
  grep -qx "### $alert" ../docs/runbook.md || { echo "docs/runbook.md has no steps for $alert" >&2; missing=1; }
  grep -hq "expr: 'ALERTS{alertname=\"$alert\", alertstate=\"firing\"}', exp_samples: \[\]" prometheus/tests/*.yaml || { echo "no test keeps $alert silent" >&2; missing=1; }
done < <(sed -nE 's/^ +- alert: (.*)$/\1/p' prometheus/rules/bunho.yaml)
[ "$missing" = 0 ]

# Tests use the Alertmanager that people are told to run.
grep -q "image: prom/alertmanager:$(cat ../target/watch/version)\$" compose.watch.yaml || { echo "compose.watch.yaml and scripts/alertmanager.sh differ" >&2; exit 1; }
"$amtool" check-config alertmanager/alertmanager.yml
# Who is told what: the routes, asked with an alert's labels.
for severity in critical warning; do
  told=$("$amtool" config routes test --config.file=alertmanager/alertmanager.yml "severity=$severity" alertname=BunhoLineForming)
  [ "$told" = teams,slack,webhook ] || { echo "an alert of severity $severity goes to $told" >&2; exit 1; }
done
# What is critical is said again each half hour, to each of the three.
again=$(grep -A2 'matchers: \[severity = critical\]' alertmanager/alertmanager.yml | grep -c 'repeat_interval: 30m')
[ "$again" = 3 ] || { echo "$again of 3 receivers are told again each half hour of what is critical" >&2; exit 1; }
