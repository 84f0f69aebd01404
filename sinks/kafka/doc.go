// Package kafka is the sink that writes alerts and decisions to topics.
//
// The alerts topic gets one JSON record an alert, as the file sink writes it,
// keyed by the source, scope:value (or by the alert's UUID). The decisions
// topic gets one JSON record a decision, with the UUID of its alert beside the
// LAPI's fields, keyed by scope:value. Keys are hashed as Kafka's own default
// partitioner does, so what is decided about one source is in one partition,
// in order, and any other Kafka client finds that partition.
//
// Records are written with acks from all replicas in sync. After an error the
// same batch comes again, so a reader may meet a record twice: the headers
// sluice-alert (UUID) and, on decisions, sluice-decision (its place in the
// alert) say which it is.
package kafka
