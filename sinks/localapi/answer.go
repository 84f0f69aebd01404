package localapi

import (
	"fmt"
	"io"
	"net/http"
)

// answer returns a handler's answer, without a server in between, as soon as it
// begins: its body is what the handler goes on to write, which waits for it to
// be read. One that is broken off is an error of its body, as it is over a
// connection, or of answer. The handler has ended when the body is closed.
func answer(h http.Handler, r *http.Request) (*http.Response, error) {
	in, out := io.Pipe()
	a := &answering{header: make(http.Header), out: out, begun: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := serve(h, a, r)
		if err == nil {
			a.WriteHeader(http.StatusOK) // where it has nothing to say
		}
		_ = out.CloseWithError(err) // it has none of its own
		close(a.begun)
	}()
	status, ok := <-a.begun
	if !ok {
		<-ended
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status, Header: a.sent, Body: &answered{in, ended},
	}, nil
}

// serve calls a handler, and returns an error where it cuts the connection.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			err = io.ErrUnexpectedEOF
		} else if p != nil {
			panic(p)
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

// answering is the handler's end of an answer.
type answering struct {
	header, sent http.Header // sent is as it was when the answer began
	out          *io.PipeWriter
	begun        chan int // gets the status, once
}

func (a *answering) Header() http.Header { return a.header }

func (a *answering) WriteHeader(status int) {
	if a.sent == nil {
		a.sent = a.header.Clone()
		a.begun <- status
	}
}

func (a *answering) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.out.Write(b)
}

// answered is the reader's end: it waits for the handler, which writes into
// nothing once the body is closed.
type answered struct {
	*io.PipeReader
	ended <-chan struct{}
}

func (a *answered) Close() error {
	err := a.PipeReader.Close()
	<-a.ended
	return err
}
