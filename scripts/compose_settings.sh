#!/usr/bin/env bash
# Checks that the nodes of deploy/compose.yaml are given the settings that scripts/cluster/bunho.sh gives, by name: two lists of one thing drift apart.
# Values differ as addresses do, but for those that say how the cluster is made. Needs no Docker; where Compose is there, it reads the files, too.
set -euo pipefail
cd "$(dirname "$0")/.."

# NAME=value of the nodes: the block below `environment: &environment`.
of_compose() {
  sed -n '/environment: &environment/,/depends_on/p' deploy/compose.yaml | sed -nE "s/^ +(BUNHO_[A-Z]+__[A-Z_]+): *'?([^']*)'?\$/\1=\2/p" | sort
}
of_script() {
  local folder
  folder=$(mktemp -d)
  env -i PATH="$PATH" scripts/cluster/bunho.sh environment 1 "$folder/bunho"
  rm -rf "$folder"
}
names() { cut -d= -f1; }

# Nodes in containers do not listen on loopback, so they have to be told whom to believe.
if ! difference=$(diff <(of_compose | names | grep -v '^BUNHO_AUTH__TRUSTED_PROXIES$') <(of_script | names)); then
  printf 'deploy/compose.yaml (<) and scripts/cluster/bunho.sh (>) set different things:\n%s\n' "$difference" >&2
  exit 1
fi
made='^BUNHO_(ENGINE__SHAPE|KAFKA__(TOPIC|PARTITIONS|REPLICATION))='
if ! difference=$(diff <(of_compose | grep -E "$made") <(of_script | grep -E "$made")); then
  printf 'deploy/compose.yaml (<) and scripts/cluster/bunho.sh (>) make different clusters:\n%s\n' "$difference" >&2
  exit 1
fi

if docker compose version >/dev/null 2>&1; then
  docker compose -f deploy/compose.yaml config --quiet
  docker compose -f deploy/compose.yaml -f deploy/compose.mysql.yaml config --quiet
  BUNHO_GRAFANA_PASSWORD=any docker compose -f deploy/compose.yaml -f deploy/compose.watch.yaml config --quiet
fi
