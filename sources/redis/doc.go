// Package redis is the source of Redis streams. Each stream is the partition
// {source, key, 0}, and a record's offset is its entry's id as a number (id.go).
//
// The state decides what is read next. Each stream has a goroutine (reader.go) that
// goes through sessions: place.go compares the position with what the stream
// holds, then entries are read by XREAD, or, with a consumer group, as group.go says. entry.go makes
// records of entries. Commit acknowledges what is through to the group.
//
// # Non-obvious
//
// What a group delivered and a lost connection swallowed is pending: `>` never
// gives it again. So a session with a group begins with what is pending for this consumer. What is below the last commit is
// acknowledged, since only the acknowledgement got lost; the rest is acknowledged by Commit. And a read that a
// lost connection left at the server may swallow entries even later: for as long as a read may wait, what the group
// delivered is compared with what came.
//
// A group of this source's own is read from the position up to what the group
// has delivered by XREAD, without the group: so what an older copy of the state has not
// seen is read, although it was acknowledged. In a group that others share, what was not pending
// for this consumer was theirs, so there only what is pending comes again, and an older copy of the state goes unnoticed.
//
// Trimming leaves no trace of which ids it removed. What tells of a loss is
// counting: Redis 7 says how many entries were ever added, and the source, or the group, how many of those
// were read. Where that is not known, such as after a restart without a group, the last entry that was read must still be
// there when there are newer ones, or entries may be missing.
//
// A blocked read does not end with its context. So reading has a client of its own, which is closed when
// the context is done; commits go through the other one, which stays until Close.
package redis
