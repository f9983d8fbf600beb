# make run    install what is missing, build, start the agent on http://127.0.0.1:10477
# make test   install what the tests need, run every test
# make test-kernels   run the truth tests on other kernels too: docs/kernels.md
# make image  build the agent's image
# make cluster-test   install the chart on a real cluster, with each tier, and cause faults in its pods
.DEFAULT_GOAL := help
SHELL := /bin/sh

# What npm cannot bring. "package:what it is for"; a package that is there is not touched.
RUN_PACKAGES := libbpf1:loads_the_tracer_(drops,_resets,_connects) \
  libpcap-dev:packet_capture_(npm_pcap) g++:builds_npm_pcap python3:builds_npm_pcap
TEST_PACKAGES := iproute2:network_namespaces iptables:causes_drops nftables:causes_drops conntrack:checks_conntrack_metrics \
  procps:sysctl dnsmasq-base:DNS_of_a_real_server bind9-dnsutils:DNS_of_a_real_client curl:HTTP_of_a_real_client \
  tcpdump:reads_what_record_--pcap_writes bpftrace:tests_of_live_tools_and_scripts openssl:certificates_of_the_TLS_tests \
  clang-14:rebuilds_the_tracer llvm-14:rebuilds_the_tracer libbpf-dev:rebuilds_the_tracer linux-libc-dev:rebuilds_the_tracer
BOARDS_PACKAGES := chromium:draws_the_dashboards fonts-inter:Grafanas_font
IMAGE_PACKAGES := buildah:builds_the_image debootstrap:its_base

# What Go builds for the tests of the chart: helm 3 and helm 4, for both are in use, and kubeconform. With Go's cache empty all three
# take 400 seconds of a processor, so that they are some four minutes on two.
.cache/helm: GO_PROGRAM := helm.sh/helm/v3/cmd/helm@v3.22.0
.cache/helm4: GO_PROGRAM := helm.sh/helm/v4/cmd/helm@v4.3.1
.cache/kubeconform: GO_PROGRAM := github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
GO_PROGRAMS := .cache/helm .cache/helm4 .cache/kubeconform

# node-gyp finds Node's headers beside node itself and never downloads them.
export npm_package_config_node_gyp_nodedir := $(shell node -p 'require("node:path").resolve(process.execPath, "../..")')
SOURCES := $(shell find agent parsers -name '*.ts' -o -name '*.bt') agent/bpf/netvitals.bpf.o package.json tsconfig.json

.PHONY: help run build test test-kernels image cluster-test lint boards bench soak fuzz clean run-packages test-packages image-packages boards-packages
help:
	@sed -n '1,5s/^# //p' $(MAKEFILE_LIST)

run: run-packages build
	@exec dist/agent/main.js serve

test: run-packages test-packages build .cache/prometheus $(GO_PROGRAMS)
	npm run lint
	npx vitest run $(VITEST_OPTIONS)

# Some 15 minutes a kernel; make test-kernels VERSIONS="6.12 7.2" FILES=test/truth/icmp.test.ts is shorter. What
# `$(IN_KERNEL) VERSION -- COMMAND` runs, it runs on another kernel.
IN_KERNEL ?= ../shared/kernels/in-kernel
test-kernels: build
	node test/kernels/run.mjs $(IN_KERNEL) $(VERSIONS) $(if $(FILES),-- $(FILES))

# What it writes, and how large it is: docs/image.md. OPTIONS are buildah's: make image OPTIONS='--build-arg BPFTRACE=1'.
image: image-packages
	node image/build.mjs $(OPTIONS)

# Some half an hour, and fifteen minutes more the first time, for helm, the image and the Prometheus operator. What CLUSTER has to
# do: test/cluster/run.mjs. make cluster-test FILES=test/cluster/tiers.test.ts is shorter; HELM=.cache/helm4 installs by Helm 4.
CLUSTER ?= ../shared/cluster/cluster
HELM ?= .cache/helm
cluster-test: image-packages build $(HELM) .cache/kubeconform
	node test/cluster/run.mjs $(CLUSTER) $(HELM) $(FILES)

# Without Go, or with one that is too old, the tests do without.
$(GO_PROGRAMS):
	@mkdir -p .cache
	@if ! command -v go >/dev/null; then echo 'no Go to build $@ with: the tests that need it are skipped'; \
	elif GOBIN=$(CURDIR)/$@.new go install $(GO_PROGRAM); then mv $@.new/* $@; \
	else echo 'going on without $@: Go could not build it'; fi; rm -rf $@.new

lint: node_modules/.package-lock.json
	npm run lint

bench: build
	node test/bench/run.mjs

# Ten minutes of storms, and half an hour of calm in which no alert may fire; make soak SECONDS=120 is shorter.
soak: build .cache/prometheus
	node test/soak/soak.mjs $(SECONDS)
	CALM_SECONDS=$(SECONDS) npx vitest run --config test/soak/vitest.config.ts

# Draws the dashboards in BOARDS, of a node on which everything goes wrong.
BOARDS ?= .cache/boards
boards: boards-packages build .cache/prometheus
	BOARDS=$(BOARDS) npx vitest run test/boards/scene.test.ts

# Ten million damaged inputs for each parser of strangers' bytes; make fuzz PARSERS=dns-message COUNT=100000 SEED=1 is shorter.
fuzz: build
	node test/fuzz/run.mjs $(if $(COUNT),--count=$(COUNT)) $(if $(SEED),--seed=$(SEED)) $(PARSERS)

build: dist/.built
dist/.built: node_modules/.package-lock.json $(SOURCES)
	npm run build
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json
	npm ci
	@touch $@

# With root and apt the missing packages are installed; otherwise the command is printed and the agent does without.
define install_packages
	@missing=; for entry in $(foreach entry,$(1),'$(entry)'); do \
	  package=$${entry%%:*}; \
	  dpkg-query -W -f '$${Status}' "$$package" 2>/dev/null | grep -q '^install ok installed' && continue; \
	  missing="$$missing $$package"; echo "missing: $$package, for: $$(echo "$${entry#*:}" | tr _ ' ')"; \
	done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq; there=; \
	  for package in $$missing; do \
	    if apt-cache show "$$package" >/dev/null 2>&1; then there="$$there $$package"; else echo "going on without $$package: apt does not know it"; fi; \
	  done; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$there >/dev/null || echo "going on without: apt failed"; \
	else echo "going on without; to have them: sudo apt-get install --no-install-recommends$$missing"; fi
endef
run-packages:
	$(call install_packages,$(RUN_PACKAGES))
test-packages:
	$(call install_packages,$(TEST_PACKAGES))
image-packages:
	$(call install_packages,$(IMAGE_PACKAGES))
boards-packages:
	$(call install_packages,$(BOARDS_PACKAGES))

# Unpacked, not installed: Debian's package would start a server of its own.
.cache/prometheus:
	@mkdir -p .cache && cd .cache && rm -rf prometheus.new && mkdir prometheus.new && cd prometheus.new && \
	  if apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; then dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb && mv ../prometheus.new ../prometheus; \
	  else echo 'no apt: the tests with a real Prometheus are skipped'; fi

clean:
	rm -rf dist node_modules .cache
