// Package integration tests the sluice binary as it is run: on a real Kafka,
// killed at random moments, frozen, without power, without disk. `make
// integration` runs it and `make soak` runs it for longer.
//
// Its tests have the build tag integration, so that the unit suite needs only
// Go. kafkatest starts Kafka; process runs programs that end with the test.
package integration
