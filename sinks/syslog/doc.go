// Package syslog is a sink that sends alerts as syslog messages of RFC 5424
// to a collector: over UDP (RFC 5426), TCP with octet counting (RFC 6587,
// section 3.4.1) or TLS (RFC 5425).
//
// Syslog has no acknowledgement. Over TCP and TLS a batch counts as delivered
// when it is written and the connection has not been found broken by then:
// what a collector's or our own kernel still held when one of them died is
// lost. A batch that failed is sent again as a whole, so messages may come
// twice; the alert's id in the structured data tells. Over UDP the network drops as it likes.
//
// message.go writes messages, sink.go keeps the connection, and alive.go finds out that it has ended.
package syslog
