#!/usr/bin/env bash
# Restores a backup of the embedded shape into a folder of its own, serves from it on loopback, and compares. Leaves nothing behind.
#
#   scripts/backup-drill.sh BACKUP [BUNHO]
set -euo pipefail

backup=${1:?usage: backup-drill.sh BACKUP [path of bunho]}
bunho=${2:-bunho}
folder=$(mktemp -d)
server=
end() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    rm -rf "$folder"
}
trap end EXIT

# Webhooks are off in what is restored, so nobody is told of what expires here.
"$bunho" restore --from "$backup" --data "$folder/data"
wanted=$(sed -n 's/^ *"claims": \([0-9]*\),$/\1/p' "$backup/manifest.json")

began=$(date +%s%3N)
BUNHO_ADMIN_KEY=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
export BUNHO_ADMIN_KEY
"$bunho" serve --data "$folder/data" --listen 127.0.0.1:0 > "$folder/said" 2> "$folder/log" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's/^serving \(http.*\)$/\1/p' "$folder/said")
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ -z "$url" ]; then
    echo "the restored folder is not served from:" >&2
    cat "$folder/said" "$folder/log" >&2
    exit 1
fi
echo "served after $(($(date +%s%3N) - began)) ms"
report=$("$bunho" reconcile --url "$url" --key "$BUNHO_ADMIN_KEY")
echo "$report"
case $report in
    *" $wanted claims compared"*) echo "the drill went well: $wanted claims, as the manifest says" ;;
    *) echo "the manifest says $wanted claims" >&2; exit 1 ;;
esac
