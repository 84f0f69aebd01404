package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"sluice/sources"
)

// maxUnsent bounds what waits to be written, in bytes: more than the
// acknowledgements of all ids that the protocol has.
const maxUnsent = 1 << 20

// writer sends packets over one connection. Sending never waits for the
// network, since acknowledgements come from goroutines that have other things to do.
type writer struct {
	conn    net.Conn
	timeout time.Duration // of a write

	mu     sync.Mutex
	buffer []byte
	closed bool
	wake   chan struct{} // holds one
}

func newWriter(conn net.Conn, timeout time.Duration) *writer {
	return &writer{conn: conn, timeout: timeout, wake: make(chan struct{}, 1)}
}

// send queues a packet; false when the connection is gone.
func (w *writer) send(p packets.ControlPacket) bool {
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return false // a buffer takes everything
	}
	return w.append(b.Bytes())
}

// ack queues an acknowledgement; false when the connection is gone.
func (w *writer) ack(kind byte, id uint16) bool {
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	return w.append([]byte{first, 2, byte(id >> 8), byte(id)})
}

func (w *writer) append(b []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.buffer = append(w.buffer, b...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return true
}

// run writes what is queued, and a PINGREQ when nothing was for an interval.
func (w *writer) run(ctx context.Context, clock sources.Clock, interval time.Duration) error {
	tick, idle := clock.After(interval), true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			idle = false
		case <-tick:
			if idle {
				w.send(packets.NewControlPacket(packets.Pingreq))
				<-w.wake // it is written below, and is no sign of life beside itself
			}
			tick, idle = clock.After(interval), true
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// flush writes what is queued. One goroutine at a time calls it.
func (w *writer) flush() error {
	w.mu.Lock()
	b := w.buffer
	w.buffer = nil
	w.mu.Unlock()
	if len(b) == 0 {
		return nil
	}
	if len(b) > maxUnsent {
		return errors.New("the broker sends more than it takes acknowledgements of")
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
	if _, err := w.conn.Write(b); err != nil {
		return fmt.Errorf("writing to the broker: %w", err)
	}
	return nil
}

// close closes the connection: what is queued is not sent.
func (w *writer) close() {
	w.mu.Lock()
	w.closed, w.buffer = true, nil
	w.mu.Unlock()
	_ = w.conn.Close()
}
