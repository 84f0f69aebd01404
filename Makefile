# Targets that need nothing but Go and make.

GO ?= go
BIN := bin/sluice
# Static, so that the binary runs on any Linux of its architecture.
export CGO_ENABLED ?= 0

.PHONY: build run test lint bench fuzz clean help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

build: ## build bin/sluice
	$(GO) build -o $(BIN) ./cmd/sluice

run: ## watch attacks being detected, on a broker and a log stream of its own
	$(GO) build -o bin/ ./cmd/...
	./bin/demo

# The race detector is linked in through cgo, and so needs a C compiler.
test: ## the whole suite; RACE=1 adds the race detector, PKG narrows it
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(if $(RACE),-race) $(TESTFLAGS) $(or $(PKG),./...)

lint: ## formatting, vet and staticcheck
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

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
