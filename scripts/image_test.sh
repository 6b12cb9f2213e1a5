#!/usr/bin/env bash
# Runs the last stage of deploy/Dockerfile without a container engine: Debian 12's files read-only, the user that its RUN makes, its ENV, ENTRYPOINT, CMD
# and HEALTHCHECK, no capabilities, no new privileges, and only /data and /tmp to write to. Sells, is killed, starts again.
#
#   scripts/image_test.sh [PROGRAM]      target/release/bunho; as root, after `scripts/package_test.sh tools`
set -euo pipefail
cd "$(dirname "$0")/.."

program=$(realpath "${1:-target/release/bunho}")
. scripts/machine.sh image-test
image=$machine
tell_more() { tail -20 "$log"; }
# One instruction of the last stage, its lines joined.
instruction() { sed -n '/^FROM debian/,$p' deploy/Dockerfile | sed -e :more -e '/\\$/N; s/\\\n//; t more' | sed -n "s/^$1 //p"; }
words() { python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1])))' "$1"; }

rm -rf "$work/data"
fresh_debian "$image"
strip --strip-unneeded -o "$image/usr/local/bin/bunho" "$program"
chroot "$image" sh -ec "$(instruction RUN | grep useradd)"
# A new volume has the owner and mode of the folder of the image that it lies over.
cp -a "$image/data" "$work/data"

user=$(instruction USER)
name=$(chroot "$image" getent passwd "${user%%:*}" | cut -d: -f1)
mapfile -t command < <(words "$(instruction ENTRYPOINT)"; words "$(instruction CMD)")
mapfile -t health < <(words "$(instruction HEALTHCHECK | sed 's/.*CMD //')")
environment=(--setenv='BUNHO_AUTH__TRUSTED_PROXIES=["127.0.0.1/32"]')
for pair in $(instruction ENV); do environment+=(--setenv="$pair"); done

start() {
  systemd-nspawn --quiet --directory="$image" --machine=bunho-image-test --register=no --keep-unit --private-network --console=pipe --read-only \
    --bind="$work/data:/data" --tmpfs=/tmp --user="$name" --drop-capability=all --no-new-privileges=yes "${environment[@]}" \
    "${command[@]}" </dev/null >>"$log" 2>&1 &
  nspawn=$!
  until_true "the process runs" 30 find_leader
  until_true "the health check of the Dockerfile says well" 60 as_user "${health[@]}"
}
find_leader() { leader=$(pgrep --parent "$nspawn" --exact bunho) && [ -n "$leader" ]; }
as_user() { nsenter --target "$leader" --all --wdns=/ -- setpriv --reuid="${user%%:*}" --regid="${user##*:}" --clear-groups "$@"; }
over() {
  kill -KILL "${leader:-0}" 2>/dev/null || true
  kill "$nspawn" 2>/dev/null || true
  wait "$nspawn" 2>/dev/null || true
  rm -rf "$image" "$work/data"
}
: >"$log"
nspawn=0
trap '[ "$nspawn" = 0 ] || over' EXIT

start
status=$(cat "/proc/$leader/status")
for line in 'NoNewPrivs:.*1' 'CapEff:.*0000000000000000' "Uid:.*${user%%:*}"; do grep -q "$line" <<<"$status" || fail "$line is not so"; done
if as_user touch /usr/local/bin/written /etc/written 2>/dev/null; then fail "the root file system can be written"; fi
key=$(as_user cat /data/admin.key)
url=http://127.0.0.1:8080
as_user curl -fsS -o /dev/null -X PUT "$url/admin/api/offers/drop" -H "Authorization: Bearer $key" --json '{"kind":"coupon","quantity":3}' || fail "no offer"
for person in 1 2 3 4; do as_user curl -sS -o /dev/null -w '%{http_code} ' "$url/v1/offers/drop/claims" -H "X-Bunho-User: u$person" --json '{"quantity":1}'; done >"$work/answers"
[ "$(cat "$work/answers")" = "201 201 201 409 " ] || fail "four who claim one of three are answered $(cat "$work/answers")"
kill -KILL "$leader"
wait "$nspawn" || true
start
as_user curl -fsS "$url/v1/offers/drop" | grep -Eq '"confirmed": ?3' || fail "what was sold is not there after kill -9"
kill -TERM "$leader"
wait "$nspawn" || fail "SIGTERM ends it with $?"
nspawn=0
rm -rf "$image" "$work/data"
echo "as in the image: healthy, read-only, without capabilities; sold 3 of 3, killed, all there, drained"
