package mqtt

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// BenchmarkIntake reads messages of QoS 1 from a broker that keeps to its
// window of unacknowledged messages: with a journal, and without one when only checkpoints,
// here one each 10 ms, acknowledge.
func BenchmarkIntake(b *testing.B) {
	for _, mode := range []string{intake.Journal, intake.Direct} {
		for _, window := range []int{20, 1000} {
			b.Run(fmt.Sprintf("%s/window=%d", mode, window), func(b *testing.B) { benchmarkIntake(b, mode, window) })
		}
	}
}

func benchmarkIntake(b *testing.B, mode string, window int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c := Default()
	c.Brokers, c.ClientID, c.Intake = []string{"mqtt://" + l.Addr().String()}, "bench", mode
	c.Subscriptions = []Subscription{{Filter: "logs/{device}", QoS: 1}}
	s, err := New("mqtt", c, sources.Env{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	next := make(chan int64, 1)
	next <- 0
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, nil, func(_ context.Context, batch *pipeline.RecordBatch) error {
			<-next
			next <- batch.Records[len(batch.Records)-1].Offset + 1
			if batch.Release != nil {
				batch.Release()
			}
			return nil
		})
	}()
	commits := make(chan struct{})
	go func() { // the checkpoints
		defer close(commits)
		for ctx.Err() == nil {
			<-time.After(10 * time.Millisecond)
			at := <-next
			next <- at
			if err := s.Commit(ctx, sources.Positions{{Source: "mqtt"}: at}); err != nil {
				b.Error(err)
			}
		}
	}()
	b.ResetTimer()
	if err := windowed(l, b.N, window); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.StopTimer()
	cancel()
	<-done
	<-commits
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// windowed is a broker that sends n messages to one client, never more than window ahead of their acknowledgement.
func windowed(l net.Listener, n, window int) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	line := []byte("Nov 25 19:21:31 host sshd[4242]: Failed password for root from 192.0.2.7 port 50022 ssh2")
	ready := false
	for sent, acked := 0, 0; acked < n; {
		for ; ready && sent < n && sent-acked < window; sent++ {
			m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
			m.TopicName, m.Payload, m.Qos, m.MessageID = fmt.Sprint("logs/", sent%50), line, 1, uint16(1+sent%65000)
			if err := m.Write(out); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		got, err := packets.ReadPacket(in)
		if err != nil {
			return err
		}
		switch p := got.(type) {
		case *packets.ConnectPacket:
			err = packets.NewControlPacket(packets.Connack).Write(conn)
		case *packets.SubscribePacket:
			answer := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			answer.MessageID, answer.ReturnCodes = p.MessageID, []byte{1}
			err = answer.Write(conn)
			ready = true
		case *packets.PubackPacket:
			acked++
		}
		if err != nil {
			return err
		}
	}
	return nil
}
