// Package logquery is what the sources of log databases share: reading what a
// query finds, in the order of times, again and again, each line once.
//
//	config.go  the keys that they have in common
//	client.go  requests, with all ways to sign in, and answers of bounded size
//	seen.go    the lines that may be met again
//	poll.go    passes over time, page by page
//	source.go  the source, for a Backend that speaks a database's language
//
// Such a database has no positions: a line has a time, others may have the
// same one, and lines turn up late. So each pass asks for the lines since a place that
// stays behind the present by the overlap, and leaves out those that were
// taken, which are known by a hash of all that they are, and by how many equal
// ones stand before them. Place and hashes are marks of the intake, kept in one
// synced write with the lines. Tail endpoints are not used: what they leave out while the
// connection is gone, or because the reader is slow, is not told.
package logquery
