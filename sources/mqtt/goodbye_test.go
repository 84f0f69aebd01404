package mqtt

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

func TestTheCheckpointAfterTheEndIsAcknowledged(t *testing.T) {
	for scheme, broker := range map[string]func(*testing.T) *scripted{"mqtt": newScripted, "ws": newScriptedWS} {
		t.Run(scheme, func(t *testing.T) {
			b := broker(t)
			r := read(t, config(b.url(), checkpointed), t.TempDir(), nil)
			p := b.subscribed(false)
			for id := uint16(1); id <= 5; id++ {
				p.publish(fmt.Sprint(id), 1, id, false)
				r.Expect(t, fmt.Sprint(id)) // so that each is an entry of its own
			}
			r.commit(t, 2)
			p.acked(packets.Puback, 1, 2)
			r.End(t)
			r.commit(t, 4)
			r.source.farewell = 20 * time.Second // this broker closes, when it comes to it
			closed := make(chan struct{})
			go func() { // what was under way when the end came
				defer close(closed)
				defer p.conn.Close()
				p.publish("6", 1, 6, false)
				p.acked(packets.Puback, 3, 4)
				p.want(packets.Disconnect)
			}()
			r.Stop(t)
			<-closed
		})
	}
}

func TestAnInterruptThatComesLateDoesNothing(t *testing.T) {
	c := &busy{}
	s := &session{conn: c}
	s.interrupt()
	s.interrupt()
	if len(c.set) != 1 {
		t.Errorf("the deadline was set %d times", len(c.set))
	}
}

func TestABrokerThatIsBusyIsHeardOut(t *testing.T) {
	c := &busy{reads: 1000}
	began := time.Now()
	hearOut(c, time.Hour)
	if c.read != c.reads {
		t.Errorf("%d of %d times something was read", c.read, c.reads)
	}
	if last := c.set[len(c.set)-1]; last.Before(began.Add(time.Hour)) {
		t.Errorf("at the end it would wait until %v, %v after it began", last, last.Sub(began))
	}
	hearOut(&busy{reads: -1}, time.Millisecond) // which ends, though the broker does not
}

// busy is a connection to a broker that goes on sending, for so many reads or without an end.
type busy struct {
	net.Conn
	reads    int // left
	read     int
	deadline time.Time
	set      []time.Time // the deadlines, in order
}

func (c *busy) SetReadDeadline(t time.Time) error {
	c.deadline = t
	c.set = append(c.set, t)
	return nil
}

func (c *busy) Read(b []byte) (int, error) {
	if c.deadline.IsZero() || !time.Now().Before(c.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	if c.read == c.reads {
		return 0, io.EOF
	}
	c.read++
	c.deadline = time.Time{} // as if the time were up before the next
	return len(b), nil
}
