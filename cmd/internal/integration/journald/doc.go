// Package journald tests the source journald on systemd's own parts: entries
// are written into a journal file by systemd-journal-remote, which is how
// machines without a running systemd have one, and read by journalctl.
package journald
