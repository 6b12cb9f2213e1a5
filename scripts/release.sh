#!/usr/bin/env bash
# Makes a release from what is checked out, into target/release-files: the program for this machine's processor as an archive and as a Debian
# package, its debug information, what is built into it (CycloneDX) and under which licences, and checksums of all of it.
#
#   scripts/release.sh tools     installs cargo-deb and cargo-cyclonedx; lintian, which looks the package over, is Debian's
#   scripts/release.sh           makes it
#
# With BUNHO_PROGRAM=FILE that program is packed instead of one that is built now, and BUNHO_FILES is another folder for all of it: what
# scripts/package_test.sh does.
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null; }
case "${1:-}" in
tools)
  has cargo-deb || cargo install --locked --quiet cargo-deb@3.8.0
  has cargo-cyclonedx || cargo install --locked --quiet cargo-cyclonedx@0.5.9
  exit ;;
'') ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
for tool in cargo-deb cargo-cyclonedx; do
  has "$tool" || { echo "$tool is missing; scripts/release.sh tools installs it" >&2; exit 69; }
done

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
machine=$(uname -m)
name=bunho-$version-linux-$machine
stage=target/package files=${BUNHO_FILES:-target/release-files}
# Times in the files are the commit's, not those of the day they were made.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -rf "$stage" "$files"
mkdir -p "$stage/manual" "$stage/doc" "$files"

fast=${BUNHO_PROGRAM:+--fast} # larger, and not to be given to anybody
if [ -z "${BUNHO_PROGRAM:-}" ]; then
  make --silent web
  cargo build --release --locked --bin bunho
  BUNHO_PROGRAM=target/release/bunho
fi

# Debug information apart: a stack trace of the field is read with it, and only where it is read.
objcopy --only-keep-debug --compress-debug-sections=zlib "$BUNHO_PROGRAM" "$files/$name.debug"
strip --strip-unneeded -o "$stage/bunho" "$BUNHO_PROGRAM"
(cd "$files" && objcopy --add-gnu-debuglink="$name.debug" "$OLDPWD/$stage/bunho")
chmod 755 "$stage/bunho"

# Nothing but the C library's own files may be needed, and none newer than RHEL 9's.
foreign=$(objdump -p "$stage/bunho" | awk '$1 == "NEEDED" {print $2}' | grep -Ev '^(libc|libm|libgcc_s|ld-linux-.*)\.so' || true)
[ -z "$foreign" ] || { echo "the program needs libraries that a system may not have: $foreign" >&2; exit 1; }
glibc=$(objdump -T "$stage/bunho" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1 | cut -d_ -f2)
[ "$(printf '%s\n2.34\n' "$glibc" | sort -V | tail -1)" = 2.34 ] || { echo "the program needs glibc $glibc; RHEL 9 has 2.34" >&2; exit 1; }

"$stage/bunho" manual "$stage/manual"
scripts/licences.py write "$stage/LICENCES.txt"

# The pages and what they link to, side by side as in the sources: for package and archive. What git does not know (secrets of deploy/alertmanager) is not in it.
git ls-files -z -- ':(glob)*.md' bunho.example.toml docs deploy ':!deploy/package' loadtest web/client/README.md web/src/wait/strings |
  tar --create --null --files-from=- | tar --extract --directory "$stage/doc"

# Crates, by cargo's own resolution; it writes beside every manifest of the workspace, so all but the server's go away again.
cargo cyclonedx --quiet --manifest-path crates/server/Cargo.toml --format json --spec-version 1.5 --target "$machine-unknown-linux-gnu" \
  --no-build-deps --override-filename release-sbom
sed "s|$PWD|.|g" crates/server/release-sbom.json >"$stage/bunho.cdx.json" # where it was built is nobody's business
find crates -maxdepth 2 -name release-sbom.json -delete
# And the packages of the pages that are built into it.
(cd web && npm sbom --omit dev --package-lock-only --sbom-format cyclonedx --sbom-type application) >"$stage/bunho-pages.cdx.json"

# dpkg compares versions; a Debian changelog is what it expects to find them in.
deb_version=$version-1
printf 'bunho (%s) stable; urgency=medium\n\n  * The changes of every version are in CHANGELOG.md of the sources.\n\n -- %s  %s\n' \
  "$deb_version" 'The Bunho maintainers <maintainers@bunho.invalid>' "$(date -uRd "@$SOURCE_DATE_EPOCH")" >"$stage/changelog"
# Policy has long documents compressed; cargo-deb's own way takes minutes for these.
gzip --best --no-name --keep "$stage/LICENCES.txt" "$stage"/*.cdx.json
cargo deb --quiet --no-build ${fast:+"$fast"} --package bunho-server --deb-version "$deb_version" --output "$files/"

archive=target/$name
rm -rf "$archive"
mkdir "$archive"
cp -r "$stage/bunho" "$stage/manual" "$stage/LICENCES.txt" "$stage/bunho.cdx.json" "$stage/bunho-pages.cdx.json" \
  deploy/package/bunho.toml deploy/package/bunho.service "$stage/doc/." LICENSE-MIT LICENSE-APACHE "$archive/"
tar --create --gzip --file "$files/$name.tar.gz" --directory target --sort=name --owner=0 --group=0 --numeric-owner \
  --mtime="@$SOURCE_DATE_EPOCH" "$name"
rm -rf "$archive"
cp "$stage/bunho.cdx.json" "$files/$name.cdx.json"
cp "$stage/bunho-pages.cdx.json" "$files/$name-pages.cdx.json"
cp "$stage/LICENCES.txt" "$files/$name-LICENCES.txt"
(cd "$files" && sha256sum -- * >SHA256SUMS)

if has lintian; then lintian --fail-on error --tag-display-limit 0 "$files"/*.deb; else echo "lintian is not here; the package was not looked over"; fi
echo "needs glibc $glibc or newer and nothing else; in $files:"
(cd "$files" && du -h -- * | sed 's/^/  /')
