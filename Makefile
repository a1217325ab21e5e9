# Two commands matter: `make run` plays the main job in a lab of its own, `make test` proves it. Both install what is
# missing first. Everything here needs root: namespaces, nf_tables, apt-get.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV  := .venv
BIN   := $(VENV)/bin
# The newest interpreter that can run us: Debian's own (whose venv module apt can bring), else the one on the PATH.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11) python3)
KEEP  ?=
ARGS  ?=
N     ?= 1

# command it brings : Debian package. The Debian package is asked for only when its command is not there.
TOOLS := nft:nftables mosquitto:mosquitto mosquitto_pub:mosquitto-clients ip:iproute2 ipset:ipset iptables:iptables \
         nginx:nginx-light wrk:wrk curl:curl dnsmasq:dnsmasq-base tcpdump:tcpdump ping:iputils-ping ps:procps \
         modprobe:kmod systemd-analyze:systemd openssl:openssl strace:strace clang:clang chromium:chromium npm:npm
# header it brings : Debian package. For the XDP program, which is compiled when edged is installed.
HEADERS := /usr/include/bpf/bpf_helpers.h:libbpf-dev /usr/include/linux/bpf.h:linux-libc-dev
XDP := edged/xdp/bpf/edged.bpf.o
MUTATION_TOOL := cosmic-ray==8.7.0
SBIN := $$PATH:/usr/sbin:/sbin

.PHONY: help install run test torture mutants check docs screens messages bench lock clean

help: ## say what each target does
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .stamp/apt .stamp/venv $(XDP) .stamp/axe/.done ## install what is missing (Debian packages, .venv from requirements.lock); quick when nothing is

run: install ## play the main job in a lab of three namespaces, step by step (KEEP=1 leaves the lab up)
	KEEP=$(KEEP) $(BIN)/python -m tests.lab.story $(ARGS)

test: install ## run every test, under ten minutes (ARGS="-k name" for some)
	$(BIN)/python -m $(if $(ARGS),pytest $(ARGS),tests)

torture: install ## kills, power cuts and forgeries by the thousand (N=0.1 for a tenth; ARGS="--only kills --seed 7 --one")
	$(BIN)/python -m tests.torture --scale $(N) $(ARGS)

mutants: install .stamp/mutants/.done ## change the domain here and there: would its tests notice? (ARGS="--most 0" for all)
	PYTHONPATH=.stamp/mutants nice -n 10 $(BIN)/python -m tests.mutants $(ARGS)

check: install ## lint, format, types, import layers, published schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m edged.published --check docs

docs: install ## write docs/asyncapi.yaml, docs/schema and the tables of docs/protocol.md anew from the models
	$(BIN)/python -m edged.published docs

screens: install ## make docs/screens anew, by the browser tests
	SITE_SCREENS=1 $(BIN)/python -m pytest -q tests/system/site/test_tls.py tests/system/site/test_pages.py

messages: install ## put sentences that are new or gone into the catalogues of the portal (edged/portal/locale)
	$(BIN)/pybabel -q extract -F edged/portal/locale/babel.cfg --omit-header --no-location --sort-output -o .stamp/portal.pot edged/portal
	$(BIN)/pybabel -q update -D portal -d edged/portal/locale -i .stamp/portal.pot \
	  --omit-header --no-wrap --no-fuzzy-matching --ignore-obsolete

bench: install ## measure beside the rivals and write bench/RESULTS.md (ARGS=NAME for one)
	$(BIN)/python -m bench $(ARGS)

lock: ## make requirements.lock anew from pyproject.toml, with hashes and no registry address
	rm -rf .stamp/lock && $(PYTHON) -m venv .stamp/lock
	.stamp/lock/bin/pip install --quiet pip-tools
	.stamp/lock/bin/pip-compile --quiet --extra dev --generate-hashes --strip-extras --no-header --allow-unsafe \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	  --output-file requirements.lock pyproject.toml
	@if grep -nE '^(-|--)|://' requirements.lock; then echo 'requirements.lock names a registry: see above' >&2; exit 1; fi
	rm -rf .stamp/lock

clean: ## remove what the other targets made here (Debian packages stay)
	rm -rf $(XDP) $(VENV) .stamp .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Services: a package must not start a broker or a web server on the machine of somebody who only wants to run tests.
# A runlevel-1 answer stops Debian's maintainer scripts from starting sysvinit services; under a running systemd the unit
# is masked in /run (gone at the next boot) only while we install it, and only when it was not there before. A
# policy-rc.d file would say the same for every package on the machine, so it is not used.
.stamp/apt: Makefile
	@mkdir -p .stamp
	@export PATH=$(SBIN); packages=; \
	for pair in $(TOOLS); do command -v "$${pair%%:*}" >/dev/null || packages+=" $${pair##*:}"; done; \
	for pair in $(HEADERS); do [[ -e $${pair%%:*} ]] || packages+=" $${pair##*:}"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || packages+=" python3-venv"; \
	if [[ -n $$packages ]]; then \
	  [[ $$(id -u) = 0 ]] || { echo "as root: apt-get install$$packages" >&2; exit 1; }; \
	  masked=; \
	  if [[ -d /run/systemd/system ]]; then \
	    [[ "$$packages " != *" mosquitto "* ]] || masked+=" mosquitto.service"; \
	    [[ "$$packages " != *" nginx-light "* ]] || masked+=" nginx.service"; \
	    [[ -z $$masked ]] || systemctl mask --runtime --quiet $$masked; \
	    trap '[[ -z $$masked ]] || systemctl unmask --runtime --quiet $$masked' EXIT; \
	  fi; \
	  echo "installing$$packages"; \
	  apt-get update -qq; \
	  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages; \
	fi
	@touch $@

$(BIN)/python: | .stamp/apt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edged needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

# axe-core, which the browser tests put into pages, comes from npm: pinned, with its hash, and its own scripts not run.
.stamp/axe/.done: tests/browser/package.json tests/browser/package-lock.json | .stamp/apt
	rm -rf .stamp/axe && mkdir -p .stamp/axe && cp tests/browser/package*.json .stamp/axe/
	cd .stamp/axe && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@
$(XDP): $(wildcard edged/xdp/bpf/*.[ch]) hatch_build.py | .stamp/venv
	$(BIN)/python hatch_build.py

# The mutation tool is nobody's dependency: it has a place of its own beside the venv.
.stamp/mutants/.done: Makefile | .stamp/venv
	rm -rf .stamp/mutants
	$(BIN)/python -m pip install --quiet --target .stamp/mutants $(MUTATION_TOOL)
	@touch $@

# First the lock's own pip: the one that Python brings takes several times as long to look through an index. With the lock's
# setuptools, no package fetches a build tool that nobody has checked. Compiled is what runs here, on all processors.
.stamp/venv: requirements.lock pyproject.toml $(BIN)/python
	@mkdir -p .stamp
	awk '/^[a-z#]/ { wanted = /^(pip|setuptools)==/ } wanted' requirements.lock > .stamp/first.txt
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r .stamp/first.txt
	$(BIN)/python -m pip install --quiet --no-compile --no-build-isolation --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --no-build-isolation --no-deps -e . # compiles the XDP program, too
	$(BIN)/python -m compileall -q -j 0 -x '/(fontTools|matplotlib|mypyc?|PIL|pip|scapy|setuptools)/' $(VENV)/lib
	@touch $@
