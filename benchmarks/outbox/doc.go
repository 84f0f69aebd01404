// Package outbox measures how many alerts a second go through the durable
// outbox: encoded, committed to the store with their epoch, counted, read,
// decoded, given to a sink, and trimmed. [Run] is the measurement; a file and
// a local HTTP endpoint are measured here, Kafka in
// cmd/internal/integration/outbox.
package outbox
