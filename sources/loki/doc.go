// Package loki is the source of Grafana Loki: what a LogQL query finds, by
// query_range, as sluice/sources/internal/logquery reads it.
//
// It was written by the published description of Loki's HTTP API, and its
// tests run on a server that follows it, not on Loki itself.
package loki
