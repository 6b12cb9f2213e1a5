# shellcheck shell=bash
# A machine of its own for a test: Debian 12 with systemd as process 1 in a container of systemd-nspawn, fresh for every run. For `source` by scripts that set -euo pipefail:
#
#   . scripts/machine.sh NAME    the machine's name, and that of its folder target/NAME
#   fresh_debian FOLDER         Debian 12's files, from nothing or from an earlier run's
#   pack PROGRAM|FILE.deb        $machine/old.deb, and a newer one with the same in it, $machine/new.deb
#   boot [OPTION…]               begins it; it ends with the script
#   install_package              as an operator does, until it is ready
#
# Needs root, and scripts/package_test.sh tools. Exit codes: 77 the kernel or the user may not; 69 something is missing.

[ "$(id -u)" = 0 ] || { echo "${0##*/} boots a container, which only root may" >&2; exit 77; }
unshare --mount --pid --uts --ipc --net --fork true 2>/dev/null || { echo "this kernel gives no namespaces: not tested" >&2; exit 77; }
command -v systemd-nspawn >/dev/null || { echo "systemd-nspawn is missing; scripts/package_test.sh tools installs it" >&2; exit 69; }

name=$1
mkdir -p "target/$name" target/package-test
work=$(realpath "target/$name")
base=$(realpath target/package-test)/base machine=$work/machine log=$work/console.log
started=$SECONDS
leader='' nspawn=''

say() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }
fail() {
  say "FAILED: $*" >&2
  tell_more >&2 || true
  exit 1
}
tell_more() { inside journalctl --no-pager --unit bunho --lines 30; }
# until_true WHAT LIMIT COMMAND…: waits until the command succeeds.
until_true() {
  local what=$1 limit=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$limit" ] || fail "waited in vain until $what"
    sleep 0.2
  done
}

fresh_debian() {
  if [ ! -e "$base/usr/lib/systemd/systemd" ]; then
    rm -rf "$base"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl bookworm "$base" >"$work/debootstrap.log" ||
      { tail -3 "$work/debootstrap.log" >&2; exit 69; }
  fi
  rm -rf "$1"
  cp -a "$base" "$1"
}

pack() {
  local given
  given=$(realpath "$1")
  fresh_debian "$machine"
  rm -rf "$work/newer"
  if [[ $given == *.deb ]]; then
    cp "$given" "$machine/old.deb"
  else
    BUNHO_PROGRAM=$given BUNHO_FILES=$work/files scripts/release.sh >"$work/release.log" 2>&1 || { cat "$work/release.log" >&2; exit 1; }
    cp "$work"/files/*.deb "$machine/old.deb"
  fi
  # The newer one has the same in it, and is newer to dpkg.
  dpkg-deb --raw-extract "$machine/old.deb" "$work/newer"
  sed -i 's/^Version: .*/Version: 99.0-1/' "$work/newer/DEBIAN/control"
  dpkg-deb --root-owner-group -Zgzip -z1 --build "$work/newer" "$machine/new.deb" >/dev/null
  rm -rf "$work/newer"
  say "packed"
}

boot() {
  systemd-nspawn --quiet --directory="$machine" --machine="bunho-$name" --register=no --keep-unit "$@" --boot --console=pipe </dev/null >"$log" 2>&1 &
  nspawn=$!
  trap over EXIT
  mkdir -p "$machine/etc/ssl/private"
  until_true "the container has a first process" 30 find_leader
  # The function ran in this shell, so it is set; up: nothing is being started any more.
  until_true "the machine is up" 60 inside systemctl is-active --quiet multi-user.target
  say "a fresh Debian 12, $(inside systemctl --version | head -1)"
}
find_leader() { leader=$(pgrep --parent "$nspawn" --exact systemd) && [ -n "$leader" ]; }
inside() { (cd / && exec nsenter --target "$leader" --all --wdns=/ -- "$@"); }
over() {
  # Ends this container's own first process; all that is in it ends with it.
  [ -z "$leader" ] || kill -KILL "$leader" 2>/dev/null || true
  [ -z "$nspawn" ] || kill "$nspawn" 2>/dev/null || true
  wait "$nspawn" 2>/dev/null || true
  rm -rf "$machine"
}

install_package() {
  inside dpkg --install /old.deb >"$work/install.log" 2>&1 || fail "dpkg --install: $(cat "$work/install.log")"
  until_true "the installed service is ready" 30 ready
}

# What an operator has: a shell, curl, systemctl.

url=http://127.0.0.1:8080
ready() { inside curl -fsS -o /dev/null "$url/readyz"; }
pid() { inside systemctl show --property MainPID --value bunho; }
admin() { inside curl -fsS -H "Authorization: Bearer $(inside cat /var/lib/bunho/admin.key)" -H 'Content-Type: application/json' "$@"; }
field() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p"; }
confirmed() { inside curl -fsS "$url/v1/offers/drop" | field confirmed; }
equal() { [ "$2" = "$3" ] || fail "$1: $2 instead of $3"; }
has() { grep -q -- "$2" <<<"$3" || fail "$1 is not in: $3"; }
