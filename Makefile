# drd: build and test. `make` alone lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# How long each fuzz target runs, and the soaks of test-long, as in go test's -fuzztime.
FUZZTIME ?= 20s
# Which benchmarks `make bench-parts` runs.
BENCH ?= .

# The programs that test/tools/build puts there; a test finds them by itself.
TOOLS := $(or $(DRD_TOOLS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/drd/tools)/bin

# Tests always run: go would take an old result for a new one when only a program beside drd has changed.
GOTEST := go test -json -count=1
SUITE := go run ./test/tools/suite
UNIT = $$(go list ./... | grep -v -e /test/integration -e /test/monitoring -e /test/systemd -e /bench)
# Their tests wait for many real etcds and read many gigabytes, which the race detector makes three times slower:
# they run with it in test-long.
SLOW = -e '/cmd/drd$$' -e '/archive/follow$$' -e '/internal/restore$$' -e '/internal/drill$$' -e '/internal/members$$' -e '/internal/demo$$' -e '/internal/past$$'

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/drd, static
	CGO_ENABLED=0 go build -trimpath -o bin/drd ./cmd/drd

.PHONY: demo
demo: ## see drd work: the whole story on this machine in a minute
	@go run ./cmd/drd demo

.PHONY: tools
tools: ## build the programs that tests need, into a cache outside the tree
	@test/tools/build

.PHONY: test
test: tools lint unit integration monitoring $(if $(CI),test-systemd) ## everything a change must pass; test-systemd where CI is set

.PHONY: unit
unit: unit-race unit-slow ## tests of the packages, most of them with the race detector

.PHONY: unit-race
unit-race: tools
	CGO_ENABLED=1 $(GOTEST) -race -timeout 30m $$(go list $(UNIT) | grep -v $(SLOW)) | $(SUITE)

.PHONY: unit-slow
unit-slow: tools
	$(GOTEST) -timeout 30m $$(go list $(UNIT) | grep $(SLOW)) | $(SUITE)

.PHONY: race
race: tools ## tests of all packages with the race detector
	CGO_ENABLED=1 $(GOTEST) -race -timeout 60m $(UNIT) | $(SUITE)

.PHONY: integration
integration: tools ## tests of the built program against real clusters and stores
	$(GOTEST) -p 1 -parallel 4 -timeout 40m ./test/integration/... | $(SUITE)

.PHONY: test-systemd
test-systemd: tools ## the packages on a machine that boots with systemd (root, Debian)
	@test/systemd/install-tools
	$(GOTEST) -tags systemd -timeout 30m ./test/systemd | $(SUITE)

.PHONY: package
package: ## .deb and .rpm for amd64 and arm64 into dist/, with SBOM and SHA256SUMS
	@packaging/build

.PHONY: monitoring
monitoring: tools ## alert rules, dashboard and their pages, with a real Prometheus and Alertmanager
	$(GOTEST) -p 1 -parallel 4 -timeout 20m ./test/monitoring/... | $(SUITE)

.PHONY: lint
lint: tools vet staticcheck layers format ## vet, staticcheck, layers and format

.PHONY: vet
vet:
	go vet ./...

.PHONY: staticcheck
staticcheck: tools
	$(TOOLS)/staticcheck ./...

.PHONY: layers
layers: ## which package may know which (test/tools/layers/rules.go)
	@go run ./test/tools/layers

.PHONY: format
format:
	@wrong=$$(gofmt -l .); \
	if [[ -n $$wrong ]]; then printf 'not formatted, run gofmt -w:\n%s\n' "$$wrong" >&2; exit 1; fi

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each (default 20s)
	@test/tools/fuzz $(FUZZTIME)

.PHONY: test-long
test-long: tools fuzz race ## what takes too long for every change: fuzzing, soaks, all packages with the race detector
	$(GOTEST) -race -tags soak -p 1 -run '^TestSoak' -timeout 8h ./... | $(SUITE)

.PHONY: bench
bench: tools ## compare with etcdctl, zstd, age, an upload by hand and bare bbolt (bench/RESULTS.md)
	go test -tags bench -run 'TestCompareWithTheTools|TestDrill|TestArchive$$|TestReplay$$' -count=1 -timeout 2h -v ./bench

.PHONY: bench-parts
bench-parts: tools ## benchmarks of single packages; BENCH=NAME chooses
	go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 2h ./...

.PHONY: vuln
vuln: ## known vulnerabilities in what drd is built from; asks the network
	@test/tools/build govulncheck
	$(TOOLS)/govulncheck ./...

.PHONY: clean
clean: ## remove what was built in the tree
	rm -rf bin dist
