// Package nats is the source of JetStream streams. The partition is
// {source, stream, 0} and a record's offset is its stream sequence.
//
// The state decides what is read next; the server is only told. A session
// (session.go) is one connection: it puts the consumer to where reading goes on
// (place.go), reads until something fails, and is followed by the next. Without a
// durable consumer it makes a passing one that acknowledges nothing.
// record.go makes records of messages, acks.go remembers what Commit is to acknowledge.
//
// # Non-obvious
//
// A server that loses a connection has delivered messages that nobody got. It sends them again
// once AckWait has passed, behind younger ones: to skip all below the last
// sequence would lose them, and to take them would break the order. So the
// consumer's own count of deliveries is followed, and at the first gap in it, or
// where anything is delivered and not acknowledged or a request of someone else's waits when a session
// begins, the consumer is made anew from the last position that was committed. Messages that were emitted already come
// again then and are recognised by their sequence.
//
// It is made anew from what was committed and not from what was emitted, since
// retention by interest deletes what no consumer asks for. For the same reason a
// second consumer, the guard, keeps the interest while the first is deleted and made anew.
// A crash between leaves the guard, which the next session deletes when the consumer is there.
//
// Whose consumer it is stands in its description. Another process that takes
// it up writes its own mark; whoever then meets a gap or finds the consumer deleted
// looks at the mark, and ends when it is another's. Two would take each other's messages in turn.
//
// With filters a position would stand still while other subjects' messages come and expire,
// and look lost after a restart. So while nothing is left to read, the pipeline is told of a position
// behind them (follow): the stream's last sequence a while ago, when the consumer says that nothing
// is left for it. Should it say so too early, a message that comes late is still emitted, since next does not move.
// Where the stream has replicas the consumer may read one that lags. Then the position does not follow, and
// whether messages are missing that neither the stream nor the consumer has any more cannot be told: a warning says so.
package nats
