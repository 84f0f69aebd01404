package syslog

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"sluice/sources/intake"
)

// benchMessages are lines of a small fleet, of both RFCs.
func benchMessages() [][]byte {
	var out [][]byte
	for i := range 64 {
		out = append(out,
			fmt.Appendf(nil, "<86>Nov 25 19:00:%02d web-%d sshd[%d]: Failed password for invalid user admin from 192.0.2.%d port 52814 ssh2", i%60, i%7, 1000+i, i),
			fmt.Appendf(nil, "<86>1 2026-11-25T19:00:%02d.123456+01:00 web-%d sshd %d - - Failed password for invalid user admin from 2001:db8::%d port 52814 ssh2", i%60, i%7, 1000+i, i))
	}
	return out
}

// BenchmarkRecord is what one message costs between the socket and the batch, on one core.
func BenchmarkRecord(b *testing.B) {
	msgs := benchMessages()
	for _, c := range []struct {
		name string
		at   int
	}{{"rfc3164", 0}, {"rfc5424", 1}} {
		b.Run(c.name, func(b *testing.B) {
			r, pool := newRecorder(formOf(b, nil)), &batches{}
			batch, peer, at := pool.take(), []byte("192.0.2.1"), received()
			b.ReportAllocs()
			for i := range b.N {
				msg := msgs[2*(i%64)+c.at]
				b.SetBytes(int64(len(msg)))
				if r.add(batch, msg, peer, at) == full {
					batch.release()
					batch = pool.take()
					r.add(batch, msg, peer, at)
				}
			}
		})
	}
	b.Run("plain", func(b *testing.B) {
		p := newPlain()
		var m message
		b.ReportAllocs()
		for i := range b.N {
			p.read(&m, msgs[i%len(msgs)])
		}
	})
}

// finish reports the rate, and what was lost.
func (w *world) finish(b *testing.B, sent int, began time.Time) {
	took := time.Since(began)
	w.until("all are accounted for", func() bool {
		s := w.source.Stats()
		return s.Records+s.Drops[dropKernel.String()] >= uint64(sent)
	})
	s := w.source.Stats()
	b.ReportMetric(float64(s.Records)/took.Seconds(), "msgs/s")
	b.ReportMetric(float64(s.Drops[dropKernel.String()]), "drops")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTCP sends over loopback as fast as it is taken, from two
// connections of this process; it is bounded by count.
func BenchmarkTCP(b *testing.B) {
	for _, c := range []struct{ framing, intake string }{
		{framingOctet, intake.Direct}, {framingNewline, intake.Direct}, {framingOctet, intake.Journal},
	} {
		framing := c.framing
		b.Run(framing+" "+c.intake, func(b *testing.B) {
			const count = 1_000_000
			var chunk []byte
			for _, m := range benchMessages() {
				if framing == framingOctet {
					chunk = fmt.Appendf(chunk, "%d ", len(m))
				}
				chunk = append(chunk, m...)
				if framing == framingNewline {
					chunk = append(chunk, '\n')
				}
			}
			chunk = bytes.Repeat(chunk, 4) // 512 messages
			for range b.N {
				w := listening(b, func(conf *Config) { conf.Intake, conf.Journal.Dir = c.intake, b.TempDir() }, "tcp://127.0.0.1:0")
				w.keep = false
				w.source.batches.poison = false
				began := time.Now()
				var g sync.WaitGroup
				for range 2 {
					conn := w.dial(0)
					g.Go(func() {
						for range count / 512 / 2 {
							if _, err := conn.Write(chunk); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				g.Wait()
				sent := count / 512 / 2 * 2 * 512
				w.until("all are there", func() bool { return w.source.Stats().Records >= uint64(sent) })
				w.finish(b, sent, began)
				w.end()
			}
		})
	}
}

// BenchmarkUDP sends over loopback from two sockets of this process, as fast
// as it can or at a rate; it is bounded by count.
func BenchmarkUDP(b *testing.B) {
	for _, c := range []struct {
		name        string
		count, rate int
	}{{"full speed", 1_000_000, 0}, {"50000 a second", 100_000, 50_000}, {"200000 a second", 400_000, 200_000}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				w := listening(b, nil, "udp://127.0.0.1:0")
				w.keep = false
				w.source.batches.poison = false
				began := time.Now()
				var g sync.WaitGroup
				for range 2 {
					conn := w.dial(0)
					g.Go(func() { sendDatagrams(b, conn, c.count/2, c.rate/2) })
				}
				g.Wait()
				w.finish(b, c.count, began)
				w.end()
			}
		})
	}
}

// sendDatagrams sends so many messages, in bursts that keep to a rate where there is one.
func sendDatagrams(b *testing.B, conn net.Conn, count, rate int) {
	const burst = 64
	out := newBurst(b, conn, benchMessages()[:burst])
	began := time.Now()
	for sent := 0; sent < count; {
		n := min(burst, count-sent)
		out.send(n)
		sent += n
		if rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(sent) * time.Second / time.Duration(rate))))
		}
	}
}
