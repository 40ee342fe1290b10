# make test       what each change has to pass; says at the end how long each part took
# make test-all   the same, and what takes long (docs/testing.md says what proves what)
# make lint       the lints alone
# make demo       the service on an emulated AWS, on this machine (STAY=1: keeps running)
# make soak       kills the service at random instants, again and again (ROUNDS=300, SLIPWAY_TEST_SEED=…)
# make simulate   random worlds on the AWS in memory (SEEDS=100000, or one: SEED=…, TRACE=1 tells what is done in it)
# make release    the binary, its packages, the list of what is in them and checksums, in target/dist
# make packages   the same, and tests the packages on a machine of their own (needs root)
# make reproducible  builds the release's binary in two clones and compares them
# make bench      the table of figures and targets

PYTHON ?= python3
VENV := .venv/bin/python
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: test test-all lint soak simulate demo bench release packages reproducible venv packages-venv packaging-tools postgresql jq promtool node npm browser

test: venv postgresql jq promtool npm browser
	$(VENV) tests/run.py

test-all: packages-venv postgresql jq promtool npm browser
	$(VENV) tests/run.py --all

lint:
	cargo fmt --check
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/.ci/lint-and-build cargo test --all-targets --no-run

soak: venv
	$(VENV) tests/emulators.py --only ministack-auth -- cargo test --test suite -- --ignored --exact --nocapture process::soak

simulate: venv
	$(if $(SEED),SLIPWAY_TEST_SEED=$(SEED)) $(if $(SEEDS),SLIPWAY_TEST_SEEDS=$(SEEDS)) $(if $(FIRST),SLIPWAY_TEST_FIRST=$(FIRST)) \
	$(if $(TRACE),SLIPWAY_TEST_TRACE=1) SLIPWAY_TEST_PYTHON=$(CURDIR)/$(VENV) \
	cargo test --profile simulate --test suite -- --ignored --exact --nocapture simulation::as_many_worlds_as_asked

demo: venv
	cargo build
	$(VENV) demo/demo.py --binary $(TARGET)/debug/slipway $(if $(STAY),--stay)

bench: venv
	cargo build --release
	$(VENV) benches/run.py --binary $(TARGET)/release/slipway $(if $(ONLY),--only $(ONLY))

release: packaging-tools
	$(PYTHON) deploy/release.py

packages: release packages-venv postgresql
	$(VENV) tests/packages.py --binary $(firstword $(wildcard $(TARGET)/dist/slipway-*-linux-gnu))

reproducible:
	$(PYTHON) tests/reproducible.py

venv: .venv/installed

# The Helm chart is rendered by Helm's own code, a download of 75 MB.
packages-venv: venv packaging-tools
	$(VENV) -m pip install --quiet --requirement tests/requirements-packages.txt

packaging-tools:
	@command -v lintian rpmbuild dpkg-shlibdeps >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends lintian rpm dpkg-dev; \
	} || { echo "install lintian, rpm and dpkg-dev first" >&2; exit 1; }

# The alerts' tests. Debian's package would also start a server; only the tool is taken out of it.
promtool: venv
	@command -v promtool >/dev/null || test -x .venv/bin/promtool || { \
	  command -v apt-get >/dev/null && folder=$$(mktemp -d) && chmod 755 $$folder && \
	  { [ "$$(id -u)" != 0 ] || apt-get update -q; } && (cd $$folder && apt-get download -q prometheus) && \
	  dpkg-deb --fsys-tarfile $$folder/prometheus_*.deb | tar -xO ./usr/bin/promtool > .venv/promtool.new && \
	  chmod +x .venv/promtool.new && mv .venv/promtool.new .venv/bin/promtool && rm -r $$folder; \
	} || echo "promtool is not installed: the alerts are not tested" >&2

# Debian's package makes a cluster and starts it, unless it is told not to; the tests make their own.
postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && mkdir -p /etc/postgresql-common && \
	  echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf && \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Options::=--force-confold install -qy postgresql; \
	} || { echo "install PostgreSQL first (Debian: apt-get install postgresql)" >&2; exit 1; }

# The documents' commands use it.
jq:
	@command -v jq >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy jq; \
	} || { echo "install jq first (Debian: apt-get install jq)" >&2; exit 1; }

# What tests use of npm: the identity provider that people sign in with, what the browser's tests inject, the libraries that
# verify webhooks, and the generator of the TypeScript client.
NPM := $(wildcard tests/*/package-lock.json)

npm: $(NPM:package-lock.json=node_modules/installed)

tests/%/node_modules/installed: tests/%/package-lock.json | node
	cd tests/$* && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# The browser that the tests of the console drive.
browser:
	@{ command -v chromium && command -v chromedriver; } >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy chromium chromium-driver; \
	} || { echo "install Chromium and its driver first (Debian: apt-get install chromium chromium-driver)" >&2; exit 1; }

node:
	@{ command -v node && command -v npm; } >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy nodejs npm; \
	} || { echo "install Node.js and npm first (Debian: apt-get install nodejs npm)" >&2; exit 1; }

# Debian keeps ensurepip in a package of its own.
.venv/installed: tests/requirements.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy python3-venv; \
	} || { echo "install python3-venv first (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet --requirement tests/requirements.txt
	touch $@
