// Package file is the sink that writes alerts to a file or to standard output,
// as JSON lines or as one readable line an alert.
//
// A JSON line has the field names of the LAPI's Alert, its decisions inside,
// and what Sluice adds under "sluice". A batch is one write to a file opened
// for appending; a write that fails half-way is taken back, so that a retry
// leaves no torn line. Files are created when the first alert comes; Reopen
// follows a rotation.
package file
