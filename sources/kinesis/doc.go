// Package kinesis reads an Amazon Kinesis data stream, each of its shards in order.
//
// The supervisor (discover.go) lists the shards, now and then and whenever one
// has ended, and starts a reader for each that may be read: one whose parents
// are read to their ends, so that a key's records stay in order when shards
// are split and merged. A reader (reader.go) asks for records at the pace that
// Kinesis allows, takes them apart (kpl.go, envelope.go) and puts them into
// the intake together with the shard's mark (mark.go): its last sequence
// number. Records and mark are one synced append to the intake's journal, so
// that a crash loses none and counts none twice.
//
// A mark also says up to when everything had been read. That is how records
// are missed that Kinesis threw away unread: sequence numbers have gaps of
// their own (gap.go).
package kinesis
