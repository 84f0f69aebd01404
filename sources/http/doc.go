// Package http is the source of records that are sent over HTTP: lines, NDJSON,
// JSON arrays, MessagePack, and what Loki's clients push.
//
// The server, its limits and its answers are package httpd's; here is what is
// in a body: which format it has (formats.go, msgpack.go), and what Loki's push API means
// (loki.go, lokijson.go, lokiproto.go, selector.go).
package http
