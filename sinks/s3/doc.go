// Package s3 is a sink that writes alerts into a bucket of S3, or of a service
// that speaks its protocol: objects of lines or of Parquet, under keys that
// partition them by time, for a data lake to query.
//
// The outbox gathers a batch (sinks.Batcher). The alerts of each partition
// (key.go) become one object (object.go, parquet.go), whose key ends in a
// hash of their ids. A batch is delivered when all of its objects are put
// (put.go).
//
// A crash between that and the outbox's cursor brings the alerts again. So
// that they come in the same batch, and make the same objects, the sink notes
// which batch it begins before the first object is put (pending.go), and asks
// for that batch when it starts again. An object is never written again with
// another content: what a late request of the crashed process still writes
// does no harm.
package s3
