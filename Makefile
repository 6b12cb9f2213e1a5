# Two commands do everything on a fresh Debian machine that has a Rust toolchain (1.95 or newer), a C compiler, Node.js (20.19 or newer, with npm) and, for
# `make test`, Go (1.25 or newer):
#   make run    builds and serves the demo on http://127.0.0.1:8080
#   make test   installs what else it needs and runs every check
# one measures:
#   make bench  speed beside the null endpoint of the same run, into docs/benchmarks.md
# one plays the load tools of the source documents for a short time, which is part of make test:
#   make loadtest
# one makes a release of what is checked out, into target/release-files, and one tries its Debian package and its image on a machine of their own (root):
#   make release
#   make package-test
# one plays an opening day on a machine of its own (root): package, rehearsal, crowd, kill, alert, dashboards, upgrade, books:
#   make day
# one breaks everything that a cluster stands on, piece by piece, under a crowd, which takes some fourteen minutes (`make test` has seven of its faults):
#   make test-faults
# one lives with a server for two hours, kills it, edits it, and looks whether memory stays flat and the books equal, into docs/reliability.md:
#   make soak
# and two are for the cluster shape, all of it on this machine's loopback:
#   make cluster        Redis Cluster, Kafka, a database (LEDGER=postgres|mysql) and two nodes behind nginx on http://127.0.0.1:8080
#   make cluster-stop   stops exactly these processes and leaves their data; scripts/cluster/cluster.sh remove removes them

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# Where a proxy leads to the rest of the world, this machine is spoken to without it.
comma := ,
export no_proxy := $(addsuffix $(comma),$(or $(no_proxy),$(NO_PROXY)))127.0.0.1,localhost
.PHONY: run build web test setup format lint shell watch docs deny lint-deploy unit pages loadtest prove soak test-faults bench release package-test day cluster cluster-stop

run: build
	./target/release/bunho serve --demo

build: web
	cargo build --release --locked --bin bunho

# The pages, which the next build of the server takes in. Made anew only where something in web/ is newer.
web: web/dist/app/manifest.json

web/dist/app/manifest.json: web/node_modules/.package-lock.json $(shell find web/src web/client -type f -not -path '*/node_modules/*' -not -path '*/dist/*') web/vite.config.ts web/tsconfig.json
	cd web && npm run --silent build

web/node_modules/.package-lock.json: web/package.json web/package-lock.json web/.npmrc
	scripts/setup.sh node
	cd web && npm ci --silent

test: setup web format shell watch lint docs deny lint-deploy unit pages loadtest prove

setup:
	scripts/setup.sh

format:
	cargo fmt --all --check

# Clippy is asked twice: with the failpoints that tests use, and as a release is built.
lint:
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	cargo clippy --workspace --locked -- -D warnings

shell:
	shellcheck --external-sources scripts/*.sh scripts/cluster/*.sh .ci/run
	scripts/compose_settings.sh

# Rules, alerts and cards of deploy/, by the tools of Prometheus and Alertmanager.
watch:
	scripts/watch.sh

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --document-private-items --locked --quiet

# Licences, sources and duplicates need no network. Advisories need a database that is fetched from outside: checked where it
# is already on the machine.
deny:
	cargo fetch --locked
	cargo deny --offline --locked check licenses bans sources
	scripts/advisories.sh

# The unit, the image's file and the manifests, each by its own tool.
lint-deploy: web/node_modules/.package-lock.json
	scripts/lint_deploy.sh

# Goes on after a failure: who waits this long wants to know of all of them.
unit:
	cargo test --workspace --all-features --locked --no-fail-fast

# Types, style and logic of the pages, then each of them in a real browser against the real program: the one that `unit` has built.
pages: web
	cd web && npm run --silent check && npm run --silent test && npm run --silent size -w @bunho/client
	cargo build --workspace --all-features --locked --bin bunho
	cd web && npm run --silent e2e

# JMeter comes from Maven within seconds. k6 is compiled, which takes minutes: played where it is there already, or where it is asked for.
loadtest:
	[ -n "$${BUNHO_PROGRAM:-}" ] || [ -x target/debug/bunho ] || [ -x target/release/bunho ] || cargo build --locked --bin bunho
	scripts/loadtest.sh jmeter smoke
	if [ -n "$${BUNHO_TEST_K6:-}" ] || command -v k6 >/dev/null || [ -x target/loadtest/bin/k6 ]; then scripts/loadtest.sh k6 smoke; \
	else echo "k6 is not here; scripts/loadtest.sh install k6 compiles it, and the next run plays it"; fi

# A short soak and others' tools against the API, beside each other; `make soak` is the long one.
prove:
	cargo build --workspace --all-features --locked --bin bunho --bin bunho-load
	./target/debug/bunho-load soak --server ./target/debug/bunho --minutes 1.1 --rate 200 --out target/soak-short > target/soak-short.txt & soak=$$!; api=0 kept=0; \
	BUNHO_PROGRAM=$$PWD/target/debug/bunho scripts/apitest.sh quick || api=$$?; wait $$soak || kept=$$?; cat target/soak-short.txt; exit $$((api + kept))

soak:
	cargo build --release --locked --bin bunho --bin bunho-load
	./target/release/bunho-load soak --server ./target/release/bunho --out target/soak --into docs/reliability.md --pictures docs/pictures

test-faults:
	scripts/setup.sh cluster
	BUNHO_TEST_FAULTS=all cargo test -p bunho-server --all-features --locked --test cluster faults:: -- --nocapture

bench:
	cargo build --release --locked --bin bunho --bin bunho-load
	./target/release/bunho-load bench --server ./target/release/bunho --write docs/benchmarks.md

release:
	scripts/release.sh tools
	scripts/release.sh

package-test: build
	scripts/package_test.sh tools
	scripts/package_test.sh
	scripts/image_test.sh

# An opening day on a machine of its own, from the package to the books. As root.
day: build
	cargo build --release --locked --bin bunho-load
	scripts/setup.sh
	scripts/package_test.sh tools
	scripts/day.sh

cluster:
	scripts/setup.sh cluster
	$(MAKE) build
	scripts/cluster/cluster.sh start all

cluster-stop:
	scripts/cluster/cluster.sh stop all
