// Package intake takes records from sources whose outside has no offsets that
// a checkpoint could resume from: listeners such as syslog and http, and
// brokers that forget a message once it is acknowledged, such as MQTT's.
//
// A source gives what arrived to Put, as an Entry. With `intake: journal` an
// entry is appended to a journal on disk (package journal) and acknowledged
// when it is synced; Run reads the journal and emits what is in it, so that the
// place in the journal is the position. What was acknowledged is then counted
// exactly once, whatever crashes. With `intake: direct` Put emits at once, and
// the acknowledgement waits for a checkpoint (`ack: checkpoint`) or not
// (`ack: accepted`).
//
// An entry's Marks say where reading of the outside goes on behind it. In a
// journal they are one write with the records, so that a cursor of any kind,
// such as a sequence number or a token, gives exactly once as well.
//
// To use it: inline Config into the source's configuration, make an Intake in
// the source's New, call Run from its Run, Commit from its Commit, Fill from its
// Stats and Close from its Close.
package intake
