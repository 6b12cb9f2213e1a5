#!/usr/bin/env bash
# Installs the Debian package on a machine of its own, a container of systemd-nspawn without a network in which systemd is process 1 as anywhere
# else, and does with it what an operator does: a crowd, a reload, a process that is killed, a wrong setting, an upgrade, removal, purge.
#
#   scripts/package_test.sh tools      installs systemd-container and debootstrap, and what scripts/release.sh needs
#   scripts/package_test.sh [FILE]     packs the program FILE (target/release/bunho), or takes the package FILE.deb, and tries it. As root.
#
# A minute for the first run's debootstrap, a minute or two for the rest. Where the kernel gives no namespaces it cannot be run, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = tools ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd-container debootstrap lintian binutils
  exec scripts/release.sh tools
fi
given=${1:-target/release/bunho}
. scripts/machine.sh package-test

pack "$given"
boot --private-network

install_package
equal "whether it starts at boot" "$(inside systemctl is-enabled bunho)" enabled
equal "owner and mode of the data folder" "$(inside stat -c '%U %a' /var/lib/bunho)" "bunho 700"
first=$(pid)
status=$(inside cat "/proc/$first/status")
equal "its user" "$(inside stat -c %U "/proc/$first")" bunho
for line in 'NoNewPrivs:.*1' 'Seccomp:.*2' 'CapEff:.*0000000000000000' 'CapBnd:.*0000000000000000'; do has "$line" "$line" "$status"; done
if inside nsenter --target "$first" --mount -- touch /etc/bunho/written /usr/written 2>/dev/null; then fail "it could write to /etc or /usr"; fi
messages=$(inside journalctl --no-pager --unit bunho)
has "where the key is" /var/lib/bunho/admin.key "$messages"
if grep -q "$(inside cat /var/lib/bunho/admin.key)" <<<"$messages"; then fail "the journal has the admin key"; fi
inside systemd-analyze verify --man=no /lib/systemd/system/bunho.service || fail "systemd-analyze verify"
inside systemd-analyze security --no-pager --threshold=20 bunho.service >"$work/security.txt" || fail "systemd-analyze security: $(tail -1 "$work/security.txt")"
for page in $(sed -n 's/^Documentation=.*file:\/\///p' deploy/package/bunho.service) /usr/share/doc/bunho/{docs/runbook.md,bunho.example.toml,deploy/prometheus/prometheus.yml}; do
  inside test -s "$page" || fail "$page is not there"
done
inside bash -n /usr/share/bash-completion/completions/bunho
say "installed and serving; $(grep -o 'exposure level.*: [0-9.]* [A-Z]*' "$work/security.txt")"

# A crowd of 200 for 50 coupons; and a line of which some wait.
admin -X PUT "$url/admin/api/offers/drop" -d '{"kind":"coupon","quantity":50}' >/dev/null
admin -X PUT "$url/admin/api/zones/SALE" -d '{"entry_limit_per_minute":5}' >/dev/null
for user in $(seq 200); do
  printf 'url = "%s/v1/offers/drop/claims"\nheader = "X-Bunho-User: u%d"\njson = "{\\"quantity\\":1}"\noutput = "/dev/null"\nwrite-out = "%%{http_code}\\n"\nnext\n' "$url" "$user"
done | sed '$d' >"$machine/crowd.curl"
answers=$(inside curl -sS --no-progress-meter --parallel --parallel-max 50 --config /crowd.curl | sort | uniq -c | tr -s ' \n' ' ')
equal "answers to 200 who claim one of 50" "$answers" " 50 201 150 409 "
for person in $(seq 6); do
  ticket=$(inside curl -fsS --json "{\"zoneId\":\"SALE\",\"key\":\"p$person\"}" "$url/traffic/wait")
done
has "the sixth waits" '"canEnter":false' "$ticket"
token=$(field token <<<"$ticket")
poll() { inside curl -fsS --json "{\"zoneId\":\"SALE\",\"token\":\"$token\"}" "$url/traffic/entry"; }
# What docs/deploy.md (as the service) and docs/backup.md have a shell do beside it.
echo BUNHO_ENGINE__ACK=engine >"$machine/etc/bunho/bunho.env"
found=$(inside systemd-run --quiet --pipe --wait --collect --property=User=bunho --property=EnvironmentFile=-/etc/bunho/bunho.env \
  bunho doctor --config /etc/bunho/bunho.toml </dev/null) || fail "doctor: $found"
has "what stands in bunho.env" 'ack = engine' "$found"
rm "$machine/etc/bunho/bunho.env"
inside install -d -o bunho -g bunho -m 700 /backups
inside runuser -u bunho -- bunho backup --to /backups/one --url "$url" --data /var/lib/bunho >"$work/backup.log" 2>&1 || fail "backup: $(cat "$work/backup.log")"
inside runuser -u bunho -- bunho restore --from /backups/one --data /backups/restored >"$work/restore.log" 2>&1 || fail "restore: $(cat "$work/restore.log")"
say "a crowd of 200 got 50 coupons, a sixth waits at a limit of five"

inside systemctl reload bunho
until_true "it serves after a reload" 10 ready
equal "the process after a reload" "$(pid)" "$first"
say "reloaded, the same process"

inside sh -c "kill -KILL $first"
until_true "systemd has started another" 30 ready
[ "$(pid)" != "$first" ] || fail "the process is the one that was killed"
equal "restarts" "$(inside systemctl show --property NRestarts --value bunho)" 1
equal "confirmed after kill -9" "$(confirmed)" 50
until_true "the ticket still has its place" 30 poll
say "killed, started by systemd, 50 confirmed, the ticket is known"

# What is refused stays down and says why.
inside sed -i 's/^listen = .*/listen = "nowhere"/' /etc/bunho/bunho.toml
inside systemctl restart bunho || true
until_true "a wrong setting ends it" 30 inside systemctl is-failed --quiet bunho
equal "exit code of a wrong setting" "$(inside systemctl show --property ExecMainStatus --value bunho)" 64
has "the journal names it" server.listen "$(inside journalctl --no-pager --unit bunho --lines 10)"
inside sed -i 's/^listen = .*/listen = "127.0.0.1:80"  # ours/' /etc/bunho/bunho.toml

# A port below 1024, and a key that is root's alone, as docs/deploy.md has them.
drop_in() { awk "/^# $1/,/^\`\`\`/" docs/deploy.md | grep -v '^```' >"$machine/etc/systemd/system/bunho.service.d/$1"; }
inside mkdir -p /etc/systemd/system/bunho.service.d
drop_in port.conf
drop_in issuer.conf
openssl genpkey -algorithm ed25519 2>/dev/null | openssl pkey -pubout >"$machine/etc/ssl/private/issuer.pem"
inside chmod 600 /etc/ssl/private/issuer.pem
printf '[auth]\nuser = "jwt"\n[auth.jwt]\nissuer = "https://id.example.com"\n' >>"$machine/etc/bunho/bunho.toml"
inside systemctl daemon-reload
inside systemctl reset-failed bunho
inside systemctl start bunho
url=http://127.0.0.1
until_true "it serves on port 80" 30 ready
if grep -q 'fewer open files' <<<"$(inside journalctl --no-pager --unit bunho)"; then fail "too few files may be open"; fi
say "a wrong setting is refused once with its name; port 80 and a key of root's by drop-ins"

before=$(pid)
inside dpkg --install /new.deb >"$work/upgrade.log" 2>&1 || fail "upgrade: $(cat "$work/upgrade.log")"
equal "the version" "$(inside dpkg-query --show bunho | cut -f2)" 99.0-1
until_true "the newer one is ready" 30 ready
[ "$(pid)" != "$before" ] || fail "the older process goes on"
has "the operator's setting" '# ours' "$(inside cat /etc/bunho/bunho.toml)"
equal "confirmed after the upgrade" "$(confirmed)" 50
until_true "the ticket is known after the upgrade" 30 poll
has "the older one drained" 'stopped: requests answered' "$(inside journalctl --no-pager --unit bunho "_PID=$before")"
say "upgraded: settings, coupons and tickets are there"

inside dpkg --remove bunho >/dev/null 2>&1
if ready 2>/dev/null; then fail "it runs although it was removed"; fi
inside test -s /var/lib/bunho/ledger.db || fail "removal took the ledger"
inside test -s /etc/bunho/bunho.toml || fail "removal took the configuration"
inside dpkg --install /new.deb >/dev/null 2>&1
until_true "it is back" 30 ready
equal "confirmed after removal and installation" "$(confirmed)" 50
inside dpkg --purge bunho >"$work/purge.log" 2>&1
has "what a purge leaves" 'rm -r /var/lib/bunho' "$(cat "$work/purge.log")"
inside test -s /var/lib/bunho/ledger.db || fail "a purge took the ledger"
if inside test -e /etc/bunho/bunho.toml || inside test -e /usr/bin/bunho; then fail "a purge left the program or its configuration"; fi
say "removed, installed again with everything, purged; the data are left and named"
