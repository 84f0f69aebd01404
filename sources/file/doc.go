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
package file
