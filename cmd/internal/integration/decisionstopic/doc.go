// Package decisionstopic holds the topic of decisions on a real Kafka to what
// `sluice decisions list` says, through kills, compaction, and the loss of the broker.
package decisionstopic
