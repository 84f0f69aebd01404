// Package httpd is what sources that listen for HTTP share: the server with its
// limits, signing in, decompression, cutting bodies into records, and the
// answer that waits until the records are safe.
//
// A kind of source gives New its Endpoints, each a path with a Read that makes
// records of a body; the Source that it returns is a whole sources.Source.
//
// The path of a request: listen.go lets connections in, as many as there may
// be; serve.go checks who sends and what (auth.go); body.go undoes the
// compression; the endpoint's Read cuts the body into records of a Batch (batch.go,
// lines.go, json.go); repeats.go finds requests that came before; the batch goes
// to package intake, and the answer is given when that has acknowledged it.
//
// A request is taken whole or not at all, as far as it has one set of labels: all of its body is
// read and found sound before any record is given on, as one entry.
//
// # Memory
//
// What bodies need is counted against one budget (memory.go), from the first byte of a
// body until the pipeline gives the records back: buffers, the records' own size,
// labels, and what decompressing takes. A request that finds none left is told to come later. A
// connection holds some 20 KiB beside that, and one of HTTP/2 up to 128 KiB of what nobody has read yet; the number of connections is bounded.
package httpd
