// Package nats is a sink that publishes alerts to a JetStream stream of NATS.
//
// Each alert is a message whose Nats-Msg-Id is the alert's id, so that the
// stream drops repeats within its duplicate window. A message counts as
// delivered when the stream has acknowledged it (publish.go).
package nats
