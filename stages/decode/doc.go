// Package decode turns broker records into lines of logs: the first stage.
//
// A Config says what a record holds (a line, lines, a JSON envelope) and where
// its labels come from. Compile makes a Decoder of it; each worker reads
// through a Reader, which allocates nothing for raw records and plain lines.
// What cannot be decoded is an Error with a Reason for the counters; nothing
// in a record can make the stage panic or use more memory than the record.
package decode
