// Package integration tests the sluice binary as it is run: on a real Kafka,
// killed at random moments, frozen, without power, without disk. `make
// integration` runs it and `make soak` runs it for longer.
//
// Most tests run a pipeline twice over one topic: once disturbed, once not.
// Alerts and exported state must be the same (same), or, where the order of
// arrival counts, must be those of some order (once, possible, kept).
// SLUICE_SEED chooses what is random; a failure says how to try it again.
//
// Its tests have the build tag integration, so that the unit suite needs only
// Go. kafkatest starts Kafka; process runs programs that end with the test.
package integration
