#!/usr/bin/env bash
# Compiles Alertmanager and amtool into target/watch/bin, once: Debian 12 has 0.25, which does not know the workflows of Teams. The release's sources come
# by `go mod download`; its pages are made by another tool chain and are left out, so this one has an API, no pages.
# Tests and checks use it; to run one for others take the project's own release, as deploy/compose.watch.yaml does.
set -euo pipefail
cd "$(dirname "$0")/.."

# The one that deploy/compose.watch.yaml runs, too: scripts/watch.sh holds the two together.
VERSION=v0.34.2
tools=$PWD/target/watch again=$PWD/scripts/again.sh

mkdir -p "$tools"
exec 8>"$tools/lock"
flock -w 900 8
if [ -x "$tools/bin/alertmanager" ] && [ -x "$tools/bin/amtool" ] && [ "$(cat "$tools/version" 2>/dev/null)" = "$VERSION" ]; then exit 0; fi
command -v go >/dev/null || { echo "alertmanager.sh: Go 1.25 or newer is needed to compile Alertmanager" >&2; exit 69; }

echo "compiling Alertmanager $VERSION into $tools/bin, once; this takes a minute or two"
sources=$(mktemp -d)
trap 'chmod -R u+w "$sources"; rm -rf "$sources"' EXIT
cd "$sources"
module=$("$again" go mod download -json "github.com/prometheus/alertmanager@$VERSION" | sed -nE 's/^\t"Dir": "(.*)",$/\1/p')
[ -d "$module" ] || { echo "alertmanager.sh: Go could not fetch Alertmanager" >&2; exit 69; }
cp -r "$module" module
chmod -R u+w module
mkdir -p module/ui/app/dist
echo 'This Alertmanager was compiled without its pages.' >module/ui/app/dist/index.html
(cd module && CGO_ENABLED=0 GOFLAGS=-mod=mod "$again" go build -trimpath -ldflags='-s -w' -o "$tools/bin/" ./cmd/alertmanager ./cmd/amtool)
echo "$VERSION" >"$tools/version"
