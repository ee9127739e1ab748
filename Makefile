# Firn's two commands and what they are made of.
#
#   make run    build everything, evaluate examples/server/configuration.nix, boot it in QEMU in this terminal
#   make test   all tests, VM tests included
#
#   make check  formatting, lints, documentation, the tidy test
#   make dist   the static binaries and os/ in target/dist, as `firn` expects them
#   make conformance  the same 475 units on Firn and on Debian's systemd, compared; UNITS='user-* sockets' only those
#   make bench-boot                 from the start of process 1 to the last service, beside other inits
#   make bench-supervisor           a killed service's restart, power off, 2,000 units loaded and ordered
#   make bench-switch               the time of switches
#   make nix-functional  Nix's own functional tests against Firn, and the table in docs/nix-functional-tests.md
#   make bench-eval NIX=… NIXPKGS=…  the evaluator's time and memory beside a real Nix's
#   make bench-store  the store's CPU time and memory beside a real Nix's
#   make store-power-cut  2000 power cuts on ext4 and on xfs (as root; make test makes a few)
#   make fuzz [SECONDS=600]  each fuzzer that long, from the corpora in fuzz/; what it finds goes there
#   make needs  install (as root) or name the Debian packages of ci/packages.txt

TARGET  := x86_64-unknown-linux-gnu
DIST    := target/dist
STATIC  := -C target-feature=+crt-static
CONFIGURATION ?= examples/server/configuration.nix
# The store that `make run` and `make test` fill; a directory of this checkout, so that a clone leaves nothing behind.
export FIRN_STORE ?= $(CURDIR)/.cache/store

.DEFAULT_GOAL := help
.PHONY: help needs dist run channel test check unit vm-test os-test conformance bench-boot bench-supervisor bench-switch bench-eval bench-store store-power-cut nix-functional nix-functional-short fuzz clean

help:
	@sed -n 's/^#   //p' Makefile

needs:
	@ci/needs ci/packages.txt

dist: needs
	RUSTFLAGS="$(STATIC)" cargo build --release --target $(TARGET) -p cli -p tools -p activate -p qemu-tests --bins
	RUSTFLAGS="$(STATIC)" cargo build --profile small --target $(TARGET) -p init --bins
	@ci/dist $(TARGET) $(DIST)

channel: dist
	@test -e $(FIRN_STORE)/nix/var/firn/channel || $(DIST)/bin/firn channel add debian

run: dist channel
	$(DIST)/bin/firn vm $(CONFIGURATION)

test: needs check dist channel unit nix-functional-short os-test vm-test
	@echo "make test: all passed"

check: needs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo test -p cli --test tidy

fuzz:
	set -e; for target in parser regex formats; do fuzz/run $$target $(or $(SECONDS),600); done

unit: needs
	cargo test --workspace --exclude qemu-tests

os-test: dist
	os/tests/run $(CURDIR)/$(DIST)/bin/nix-instantiate

vm-test: dist channel
	FIRN_DIST=$(CURDIR)/$(DIST) cargo test -p qemu-tests -- --test-threads=2

conformance: dist
	FIRN_CONFORMANCE=$(or $(UNITS),all) FIRN_DIST=$(CURDIR)/$(DIST) cargo test -p qemu-tests --test conformance

bench-switch: dist channel
	FIRN_DIST=$(CURDIR)/$(DIST) cargo bench --profile dev -p benches --bench switch

bench-supervisor: dist
	FIRN_DIST=$(CURDIR)/$(DIST) cargo bench --profile dev -p benches --bench supervisor

bench-boot: dist
	FIRN_DIST=$(CURDIR)/$(DIST) cargo bench --profile dev -p benches --bench boot -- $(SERVICES)

nix-functional: dist
	for mode in base-daemon daemon commands; do ci/nix-functional run 2.8.0 $$mode; done
	for mode in base-daemon daemon commands; do ci/nix-functional run 2.26.3 $$mode; done
	ci/nix-functional table

nix-functional-short: dist
	ci/nix-functional short

bench-eval:
	cargo build --release -p cli
	@ci/bench-eval target/release/firn $(NIX) $(NIXPKGS)
	@ci/bench-instructions target/release/firn

bench-store:
	cargo build --release -p cli
	@ci/bench-store target/release/firn $(NIX)

store-power-cut:
	FIRN_POWER_CUTS=2000 cargo test -p store --test power_cut -- --nocapture --test-threads=1

clean:
	cargo clean
	rm -rf .cache
