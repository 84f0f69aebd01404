// Package kafka is the sink that writes alerts to a topic, and keeps a topic of
// the decisions in force.
//
// The alerts topic gets a record an alert, in any format of sinks/format, keyed
// by the source, scope:value (or by the alert's UUID). Keys are hashed as
// Kafka's own default partitioner does, so what is found about one source is in
// one partition, in order, and any other Kafka client finds that partition.
//
// RawWriter writes records of any kind to one topic, for dead letters.
//
// # Order and repeats of alerts
//
// Records are written with acks from all replicas in sync, one batch a
// partition at a time, and nothing behind a batch that failed is sent before
// it is written: so for each key the first copies of records are in their
// order. After an error, or an answer that never came, the records of that
// partition come again, and not those that other partitions have acknowledged.
// So a reader may meet a record twice, also behind later ones: Kafka's
// own idempotent producer would not help, since a repeat may come from another
// process after a crash. Readers drop repeats by the header sluice-alert, the
// alert's id, which a crash never changes.
//
// # The decisions topic
//
// Its records are states, not changes: a Standing for every key with decisions
// in force, a tombstone behind it when none is left. A publisher follows the
// sink that keeps decisions (sinks.DecisionFeed). Begin with publisher.go for
// how the topic is kept, standing.go for what a record holds, fold.go for
// whose the topic is, and topic.go for the requests.
package kafka
