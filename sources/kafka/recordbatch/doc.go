// Package recordbatch reads Kafka's record batches, format 2, out of the bytes
// of a fetch's answer: pure functions that own no connection and copy nothing.
//
// Begin at Split, which cuts batches off the answer and says of each which
// offsets it spans, whatever compaction or a transaction left in it. Check
// holds a batch to its checksum, a Decompressor opens its payload, and Records
// walks the records in it. Aborted, fed with the answer's list, says which
// batches a reader of committed records leaves out.
//
// Formats 0 and 1, which brokers wrote before 0.11 and which Kafka 4 cannot
// send any more, are refused with ErrOldFormat.
//
// The bytes come from outside. Every length is held to what is there before it
// is used, and nothing is allocated by a length that was only claimed; a
// decompressed batch is bounded by the caller.
package recordbatch
