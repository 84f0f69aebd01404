// Package simulation runs whole pipelines in a simulated world and breaks it:
// it holds tests only. One seed decides everything that the world does.
//
//	go test ./cmd/internal/simulation                       # some hundred seeds
//	go test ./cmd/internal/simulation -run TestSimulation -seed 17
//	SLUICE_SEEDS=10000 go test ./cmd/internal/simulation    # as in make soak
//
// What is real: configuration, rules, engine, graph, checkpoints, outbox and
// all of the wiring of cmd/internal/app. What is simulated: the log with its
// consumer group (broker_test.go, group_test.go), sinks (sink_test.go), reverse DNS, the time,
// and the store (store_test.go), which in a share of the seeds is the real one (realstore_test.go).
// A process (process_test.go) reaches all of these through one door, and a
// crash shuts it: what came through before has happened, nothing after it does.
//
// The time is that of a testing/synctest bubble: it stands still while any
// goroutine has something to do, so that after every step the world is at
// rest, and moves when the simulator sleeps. Goroutines still run in any
// order. So what is asserted holds under every schedule, and what the
// simulator decides depends on the seed alone.
//
// Begin with world_test.go for the steps of one seed, plan_test.go for what a
// seed chooses, and check_test.go for what is asserted:
//
//   - With keys that stay in one partition, and with lines merged by their
//     clocks, the alerts are those of an uninterrupted run, each committed to an outbox once,
//     and the state at the end equals that run's record by record.
//   - With keys spread over partitions every line counts once.
//   - Offsets are committed behind durable epochs only, one commit at a time.
//   - Every sink gets all alerts, at least once, in the order of the outbox.
//   - In a group no alert is delivered before the group has accepted the
//     record that caused it under the tenure that read it, and none by two
//     members; with state.missing wait all is as in an uninterrupted run.
package simulation
