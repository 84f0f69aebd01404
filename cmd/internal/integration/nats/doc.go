// Package nats holds the tests of the source nats on a real NATS server with
// JetStream. They run with the build tag integration.
package nats
