// Package cloudwatch reads log groups of Amazon CloudWatch Logs, by a window of
// time or as events come.
//
// CloudWatch gives events no order of arrival to go on from: it can only be
// asked for the events of a span of time, and an event may turn up after ones
// with later times. So a reader (reader.go) asks again and again for all
// events since a place that stays behind the present by the overlap, and
// leaves out those that it has had, by their ids (seen.go). The place and the
// ids are marks of the intake, one synced append with the records, so that a
// crash loses none and counts none twice. What is remembered is bounded: ids
// older than the place are forgotten, since nobody asks for them again.
//
// The supervisor (discover.go) looks for groups, of which each has a reader
// and is a partition. Streams come and go within it.
package cloudwatch
