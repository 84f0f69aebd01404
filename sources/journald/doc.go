// Package journald is the source of systemd's journal. It runs journalctl, as
// the journal's files have no other reader that every systemd agrees with, and
// reads its export format, in which fields may hold any bytes.
//
//	command.go  the arguments of journalctl, and the process
//	export.go   its output taken apart, in bounded memory
//	record.go   an entry made a line, as a syslog daemon would write it
//	source.go   entries into the intake, each run of them with the cursor behind it
//
// The cursor of the last entry is a mark of the intake (sluice/sources/intake),
// kept in one synced write with the records. A new journalctl begins at the
// cursor, whose own entry is left out, so that after a crash of either side
// each entry is counted once.
//
// # Non-obvious
//
// journalctl leaves out what it cannot read, and of an entry that is being
// written at that moment this may be the message: seen with systemd 252, about
// once in some hundred thousand entries that come in bursts. So an entry without one
// is read again, by another journalctl, before it counts as one that has none.
package journald
