# Targets need nothing but Go and make, where nothing else is said.

GO ?= go
BIN := bin/sluice
# Static, so that the binary runs on any Linux of its architecture.
export CGO_ENABLED ?= 0

.PHONY: build run kafka test integration soak lint bench fuzz clean help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

build: ## build bin/sluice
	$(GO) build -o $(BIN) ./cmd/sluice

run: ## watch attacks being detected, on a broker and a log stream of its own
	$(GO) build -o bin/ ./cmd/sluice ./cmd/demo
	./bin/demo

kafka: ## a real Kafka on free ports until Ctrl-C; NODES=3 for a cluster; needs a JDK and Maven
	$(GO) run ./cmd/internal/integration/kafka -nodes $(or $(NODES),1) -topics '$(TOPICS)'

# The race detector is linked in through cgo, and so needs a C compiler.
test: ## the whole suite; RACE=1 adds the race detector, PKG narrows it, TIMEOUT is a package's (20m)
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(if $(RACE),-race) -timeout $(or $(TIMEOUT),20m) $(TESTFLAGS) $(or $(PKG),./...)

# Packages with tests on real parts, by the tag that keeps those out of the unit suite.
INTEGRATION = $(shell grep -rl --include='*_test.go' '^//go:build integration' . | xargs -n1 dirname | sort -u)

integration: ## the tests on real parts; what a machine lacks is skipped aloud; RUN narrows them, JOBS is how many packages at once (2)
	$(GO) test -tags integration -count 1 -v -p $(or $(JOBS),2) -timeout $(or $(TIMEOUT),20m) $(if $(RUN),-run '$(RUN)') $(TESTFLAGS) $(or $(PKG),$(INTEGRATION))

soak: ## the same for hours: more kills, more seeds
	SLUICE_SEEDS=10000 $(GO) test -count 1 -timeout 2h -run TestSimulation ./cmd/internal/simulation
	SLUICE_SOAK=1 $(MAKE) integration JOBS=$(or $(JOBS),1) TIMEOUT=$(or $(TIMEOUT),6h)

lint: ## formatting, vet and staticcheck
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi
	$(GO) vet -tags integration ./...
	$(GO) tool staticcheck -tags integration ./...

bench: ## the benchmarks; BENCH=regexp narrows them, COUNT=10 serves benchstat
	$(GO) test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),1) $(or $(PKG),./...)

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(or $(FUZZTIME),10s) $$pkg || exit 1; \
		done; \
	done

clean: ## remove what was built
	rm -rf bin
