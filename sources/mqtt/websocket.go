package mqtt

import (
	"errors"
	"io"
	"net"
	"time"
)

// webSocket makes a wait for the broker one that can be broken off. The library closes a
// connection when a deadline passes while it is read, and what is acknowledged
// after Run would have no way out. So it is read by a goroutine that no deadline reaches,
// into a pipe, and deadlines are those of the pipe: what comes later is not lost.
type webSocket struct {
	net.Conn // the library's, for what is written
	near     net.Conn
	ended    chan struct{} // closed when nothing more is read
	err      error         // why; readable then
}

// newWebSocket takes over a connection of the library.
func newWebSocket(conn net.Conn) *webSocket {
	near, far := net.Pipe()
	w := &webSocket{Conn: conn, near: near, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		_, w.err = io.Copy(far, conn)
		_ = far.Close()
	}()
	return w
}

// Read implements net.Conn.
func (w *webSocket) Read(b []byte) (int, error) {
	n, err := w.near.Read(b)
	if err == io.EOF {
		<-w.ended
		if w.err != nil {
			err = w.err
		}
	}
	return n, err
}

// SetReadDeadline implements net.Conn.
func (w *webSocket) SetReadDeadline(t time.Time) error { return w.near.SetReadDeadline(t) }

// SetDeadline implements net.Conn.
func (w *webSocket) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}

// Close implements net.Conn, and ends the goroutine.
func (w *webSocket) Close() error {
	err := errors.Join(w.near.Close(), w.Conn.Close())
	<-w.ended
	return err
}
