// Package file is the source of log files and of standard input.
//
// Every file is a partition of its own: its topic is the path, its offsets are
// those of the lines' first bytes in the file as it reads uncompressed. In one
// pass files are read one after the other, sorted by path, and Run returns nil
// at the end. With follow, all files are read as they grow, through rotation
// by rename and through truncation.
//
// A record is one line without its line end and without one CR before it;
// empty lines are no records (FIDELITY 33) and are counted as skipped. Lines
// alias the block that they were read into; the block goes back to its pool
// when the last batch on it is released.
//
// # Offsets of followed files
//
// Offsets of a partition must never go back. So when a followed path gets
// another file, or its file is truncated, the partition's generation grows by
// one, and an offset is generation<<44 | byte. Generation 0 is the plain byte.
//
// # Which file an offset is in
//
// Where a state is kept, the registry beside it (registry.go) remembers the file of each
// generation: its place on the disk and the checksum of its beginning
// (identity.go). It is synced before the generation's first line is emitted. A restart
// finds the file that the state stands in by its place, under whatever name
// in the folder, or else a copy that begins alike, compressed or not; then the
// files that rotation has made since, by their names and times; then the path's
// own (resume.go). While it runs, a file that was truncated and grew past the
// offset is noticed by the bytes before the offset (tail.go).
package file
