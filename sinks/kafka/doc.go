// Package kafka is the sink that writes alerts and decisions to topics.
//
// The alerts topic gets one JSON record an alert, as the file sink writes it,
// keyed by the source, scope:value (or by the alert's UUID). The decisions
// topic gets one JSON record a decision, with the UUID of its alert beside the
// LAPI's fields, keyed by scope:value. Keys are hashed as Kafka's own default
// partitioner does, so what is decided about one source is in one partition,
// in order, and any other Kafka client finds that partition.
//
// RawWriter writes records of any kind to one topic, for dead letters.
//
// # Order and repeats
//
// Records are written with acks from all replicas in sync, one batch a
// partition at a time, and nothing behind a batch that failed is sent before
// it is written: so for each key the first copies of records are in their
// order. After an error, or an answer that never came, the same records come
// again, so a reader may meet a record twice, also behind later ones: Kafka's
// own idempotent producer would not help, since a repeat may come from another
// process after a crash. Readers drop repeats by the headers: sluice-alert, the
// alert's id, which a crash never changes, and, on decisions, sluice-decision
// (its place in the alert).
package kafka
