# make test    everything that CI runs
# make demo    the service on an emulated AWS, on this machine (STAY=1: keeps running)
# make soak    kills the service at random instants, again and again (ROUNDS=300, SLIPWAY_TEST_SEED=…)
# make bench   the table of figures and targets

PYTHON ?= python3
VENV := .venv/bin/python

.PHONY: test lint soak demo bench venv

test: venv lint
	$(VENV) tests/emulators.py -- cargo test
	$(VENV) tests/emulators.py --only moto -- $(VENV) tests/contract.py

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

soak: venv
	$(VENV) tests/emulators.py --only ministack-auth -- cargo test --test suite -- --ignored --exact --nocapture process::soak

demo: venv
	cargo build
	$(VENV) demo/demo.py --binary target/debug/slipway $(if $(STAY),--stay)

bench: venv
	cargo build --release
	$(VENV) benches/run.py --binary target/release/slipway $(if $(ONLY),--only $(ONLY))

venv: .venv/installed

# Debian keeps ensurepip in a package of its own.
.venv/installed: tests/requirements.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy python3-venv; \
	} || { echo "install python3-venv first (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet --requirement tests/requirements.txt
	touch $@
