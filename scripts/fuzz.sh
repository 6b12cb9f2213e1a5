#!/usr/bin/env bash
# Looks for inputs that break a parser: every fuzz target in turn, each for so many seconds (default 60), with libFuzzer.
#
#   scripts/fuzz.sh 300             all targets, five minutes each
#   scripts/fuzz.sh 300 pass ticket these two
#
# What is found lies in fuzz/artifacts/TARGET/; mend it, and keep the input in fuzz/corpus/TARGET/, which `make test` replays.
# New inputs that reach new code go into fuzz/found/TARGET/ (not kept in git); scripts/fuzz.sh never adds to the corpus by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd fuzz/corpus && printf '%s\n' *)

command -v cargo-fuzz >/dev/null || cargo install --locked --quiet cargo-fuzz@0.13.2
# The flags that cargo-fuzz gives the compiler are not all stable. No sanitizer: the product's own code is safe Rust.
export RUSTC_BOOTSTRAP=1
status=0
for target in "${targets[@]}"; do
  mkdir -p "fuzz/found/$target"
  dictionary=(); [ -f "fuzz/dictionaries/$target" ] && dictionary=("-dict=fuzz/dictionaries/$target")
  echo "== $target, $seconds s"
  cargo fuzz run -s none "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=8192 -print_final_stats=1 "${dictionary[@]}" || status=1
done
exit $status
