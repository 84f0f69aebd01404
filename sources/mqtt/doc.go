// Package mqtt is the source of an MQTT 3.1.1 broker's topics.
//
// source.go keeps a connection to one of the brokers, whatever happens to
// it. A session (session.go) is one such connection: it signs in, subscribes, and reads
// packets (packet.go) in one goroutine, which puts runs of messages into the intake. A second goroutine
// writes (writer.go). The topic decides the labels (filter.go, route.go). Which messages are on their
// way is known by their ids (inbox.go), which outlive the connection and, for QoS 2, the process (memory.go).
//
// Packets are those of the paho library; the client is not, see decision 21.
//
// # Non-obvious
//
// The reader may wait in Put for as long as the pipeline is full. It is the
// writer that sends PINGREQ, and the reader counts the broker as silent only while it waits
// for it, so backpressure never ends a connection.
//
// A message is acknowledged on the connection on which it came last, never on
// a later one on which the broker has not sent it again: ids belong to a session,
// and whether the broker still has that session is known only when it has answered.
//
// Only a PUBLISH with DUP set is taken for a repeat. An id alone is not
// enough: a broker that was restored from an older copy gives ids again.
//
// The PUBCOMP of a message of QoS 2 is sent when its id is forgotten durably.
// Earlier, the broker could use the id for another message, and a crash would
// have that one taken for a repeat.
//
// Subscribing again to what the session is subscribed to makes the broker send
// retained messages again, so the session's filters are remembered, and only differences are told.
// Filters that are configured no more are given up, or the session would go on with them for good.
//
// Run leaves its connection open until Close: the last
// acknowledgements come with the last checkpoint, which is after Run. No
// goroutine is left with it but that of a WebSocket (websocket.go).
package mqtt
