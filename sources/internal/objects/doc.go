// Package objects reads logs that lie in a bucket of S3, an object at a time:
// what the sources s3 and cloudtrail share.
//
// A source is one partition. Objects are found (see [Source]) by messages of
// an SQS queue or by listing a bucket, and each one gets the next number of
// the manifest, a durable log of references. An offset is that number and the
// index of a record in its object, so positions are exact and small, and do
// not grow with the number of objects: reading resumes in the middle of an
// object by reading it from its beginning and leaving out what was read before.
//
//	queue ──► notify ─┐                    ┌─► download ─┐
//	                  ├─► manifest ─► plan ┼─► download ─┼─► in order: unpack, split, emit
//	bucket ─► list ───┘   (synced)         └─► download ─┘
//
// Whatever is said of an object twice, by a message that comes again or by a
// listing that looks back, is known from the manifest and read once.
//
// Begin in source.go. What finds objects is in queue.go and list.go, what is
// found in manifest.go, what is read in download.go, unpack.go and read.go.
package objects
