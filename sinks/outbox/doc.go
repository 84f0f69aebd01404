// Package outbox delivers alerts and dead letters that are kept in a durable
// log to the sinks, each at its own pace.
package outbox
