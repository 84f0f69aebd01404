// Package journal is a durable log on disk, for records that must be
// acknowledged before the pipeline has counted them.
//
// Entries are appended by any goroutine, and are safe once their callback was
// called with nil: one write and one fdatasync serve all that wait (group
// commit). A Reader tails what is synced. Trim gives back what is no longer
// needed. Offsets count records, over all streams of the journal.
//
// # On disk
//
// A journal is a folder of segments, NNNNNNNNNNNNNNNN.journal, numbered from 1 in hexadecimal.
// A segment is a head and then groups, each a block:
//
//	magic    4 bytes  "SLJh" head, "SLJg" group
//	length   4 bytes  of the body
//	sum      4 bytes  crc32c of the body
//	first    8 bytes  offset of the block's first record
//	count    4 bytes  records in the block
//	sum      4 bytes  crc32c of the journal's id and the 24 bytes before
//	body
//
// Numbers are little endian. A group's body is frames, one an entry: see
// frame.go. A head's body has the journal's id, the segment's number,
// the marks as they are at its beginning, and where each stream ended before it: so
// removing a segment forgets neither.
//
// # What recovery relies on
//
//   - A group is written only when the one before is synced. So bytes that do
//     not verify are the torn end of a write that nobody was told of, unless a
//     block that verifies lies behind them: then synced records were damaged, and
//     Open refuses. The journal's id in the sums keeps a record's own bytes from passing for a block.
//   - A run that ends in peace writes a group without frames, so that damage to
//     the last records is told from a torn end.
//   - The folder is synced before the first group of a new segment is
//     acknowledged, and after every removal, so that segments have no holes.
//   - What Open finds it syncs before it is read: positions must not pass
//     records that a power failure could still take.
//   - After a sync that failed nobody knows what is on disk (the kernel forgets
//     which pages were not written), so the journal stops. Want of space is
//     met before the sync, and waits.
package journal
