// Package syslog is the source of syslog messages: over UDP, TCP, TLS (RFC
// 5425) and Unix datagram sockets, of RFC 3164 and RFC 5424, with the framings of RFC 6587.
//
// The path of a message: a socket's goroutine (datagram.go, stream.go) reads
// what has come; framer (frame.go) finds the messages in a stream; recorder
// (record.go) takes each apart and writes what the record holds into a batch
// (batch.go); the batch goes to package intake, which blocks while the pipeline
// is full. Until it has taken the batch, the socket is not read on: over TCP
// the sender waits then, over UDP the kernel's buffer fills and drops.
//
// A message is taken apart twice over: message.fast (message.go) reads the
// usual forms without allocating, and plain (plain.go) all that the library
// go-syslog reads. FuzzFastReadsAsPlainDoes holds the one to the other.
//
// Each address is a partition: its topic is the address as it is configured,
// and its records are in the order in which one reader or connection got them;
// between readers and connections the order is that of arrival here.
//
// # Memory
//
// Quiet connections hold no buffer, but for TLS ones, which hold one record's.
// A connection that has something to read waits for one of few desks (desk.go),
// each with a buffer, a recorder and a batch. What it must keep between
// two reads, the beginning of a message, is bounded by max_message for each
// connection and by max_unfinished for all.
package syslog
