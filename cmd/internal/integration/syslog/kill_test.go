//go:build integration

package syslog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
)

// sent are the lines of one connection, from first up to, and without, next.
type sent struct{ first, next int }

// stream sends numbered lines over TCP until ctx ends, some thousand a second,
// and never sends one twice. When a connection breaks it goes on with the next line on another.
func stream(ctx context.Context, place string) (out []sent, err error) {
	n := 0
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", place)
		if err != nil { // sluice is not there at the moment
			if err := rig.Pause(ctx, 20*time.Millisecond); err != nil {
				break
			}
			continue
		}
		c := sent{n, n}
		for ctx.Err() == nil {
			text := ""
			for range 8 {
				text += fmt.Sprintf("<86>Nov 25 19:00:00 web sshd[7]: %s\n", rig.Line(n))
				n++
			}
			if _, err = conn.Write([]byte(text)); err != nil {
				break
			}
			<-tick.C
		}
		c.next = n
		out = append(out, c)
		conn.Close()
	}
	return out, nil
}

// TestKilledUnderLoad kills sluice while lines come over TCP. TCP does not say
// what has arrived, so what was under way is lost; what was counted must be the
// beginning of what each connection sent, without a hole, and each line once.
func TestKilledUnderLoad(t *testing.T) {
	for _, intake := range []string{"direct", "journal"} {
		t.Run(intake, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(rig.Seed(t), 7))
			place := fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
			in := rig.New(t, "sluice", rig.Probing(map[string]any{
				"type": "syslog", "listen": []string{"tcp://" + place}, "intake": intake,
			}))
			in.StartReady(t, "tcp://")
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var all []sent
			var g errgroup.Group
			g.Go(func() (err error) {
				all, err = stream(ctx, place)
				return err
			})
			kills := 2
			if rig.Soak() {
				kills = 30
			}
			for range kills {
				if err := rig.Pause(ctx, time.Duration(500+rng.IntN(1000))*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				in.Kill(t)
				in.StartReady(t, "tcp://")
			}
			if err := rig.Pause(ctx, 500*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			stop()
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			last := all[len(all)-1]
			lastLine(t, in, last.next-1)
			in.Stop(t)
			tally := in.Tally(t)
			lost := 0
			for _, c := range all {
				end := c.first
				for end < c.next && len(tally[end]) > 0 {
					end++
				}
				lost += c.next - end
				for n := end; n < c.next; n++ {
					if len(tally[n]) > 0 {
						t.Fatalf("line %d was counted and line %d before it, of the same connection (%d to %d), was not", n, end, c.first, c.next-1)
					}
				}
			}
			for n, ids := range tally {
				if len(ids) > 1 {
					t.Errorf("line %d was counted %d times", n, len(ids))
				}
			}
			t.Logf("%d kills, %d connections, %d lines: %d lost on the way", kills, len(all), last.next, lost)
			if got := last.next - last.first; lost > last.next/2 || len(tally) < got {
				t.Errorf("%d of %d lines were lost", lost, last.next)
			}
		})
	}
}

// TestRsyslogGoesOnWhereSluiceWasKilled kills sluice while a rsyslog with a queue sends. rsyslog
// sends again what it could not give to its own kernel, so what that had taken over is lost and the rest comes.
func TestRsyslogGoesOnWhereSluiceWasKilled(t *testing.T) {
	rng := rand.New(rand.NewPCG(rig.Seed(t), 8))
	to := rig.Port(t)
	in := rig.New(t, "sluice", rig.Probing(map[string]any{
		"type": "syslog", "listen": []string{fmt.Sprintf("tcp://127.0.0.1:%d", to)}, "intake": "journal",
	}))
	in.StartReady(t, "tcp://")
	d := startQueueing(t, to)
	n := 0
	write := func(many int) {
		for end := n + many; n < end; n += 50 {
			if err := rig.Pause(t.Context(), 15*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			lines := make([]string, 50)
			for i := range lines {
				lines[i] = rig.Line(n + i)
			}
			d.write(t, lines...)
		}
	}
	for range 2 {
		write(2000)
		// rsyslog takes its time to connect again, and what it then gives to its kernel a kill
		// loses, however much it is: so only what follows is under way.
		lastLine(t, in, n-1)
		write(50 * (1 + rng.IntN(4)))
		in.Kill(t)
		write(500)
		in.StartReady(t, "tcp://")
	}
	write(500)
	lastLine(t, in, n-1)
	in.Stop(t)
	tally := in.Tally(t)
	lost, repeated := 0, 0
	for i := range n {
		switch len(tally[i]) {
		case 0:
			lost++
		case 1:
		default:
			repeated++
		}
	}
	t.Logf("2 kills, %d lines: %d lost on the way, %d sent again and counted again", n, lost, repeated)
	if lost > n/10 || repeated > n/10 {
		t.Errorf("of %d lines %d were lost and %d counted again", n, lost, repeated)
	}
}

// lastLine waits until a line was counted.
func lastLine(t *testing.T, in *rig.Instance, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "the last line", func() (bool, error) { return len(in.Tally(t)[n]) > 0, in.Ended() }); err != nil {
		t.Fatal(err)
	}
}

// startQueueing runs a rsyslog that keeps what it cannot send over TCP.
func startQueueing(t *testing.T, port int) *daemon {
	t.Helper()
	return startRsyslog(t, "", fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port="%d" protocol="tcp" template="RSYSLOG_SyslogProtocol23Format" `+
		`TCP_Framing="octet-counted" queue.type="LinkedList" queue.filename="forward" queue.size="100000" action.resumeRetryCount="-1" action.resumeInterval="1")`, port))
}

// TestAnOutageIsBridgedByRsyslogsQueue stops sluice, in good order and then
// abruptly, while a rsyslog with a queue goes on.
func TestAnOutageIsBridgedByRsyslogsQueue(t *testing.T) {
	place := rig.Port(t)
	in := rig.New(t, "sluice", rig.Probing(map[string]any{"type": "syslog", "listen": []string{fmt.Sprintf("tcp://127.0.0.1:%d", place)}}))
	in.StartReady(t, "tcp://")
	d := startQueueing(t, place)
	const each = 500
	n := 0
	write := func() {
		lines := make([]string, each)
		for i := range lines {
			lines[i] = rig.Line(n + i)
		}
		n += each
		d.write(t, lines...)
	}
	for round, end := range []func(){func() { in.Stop(t) }, func() { in.Kill(t) }} {
		write()
		in.Drained(t, n)
		if err := rig.Pause(t.Context(), time.Second); err != nil { // a checkpoint holds them
			t.Fatal(err)
		}
		end()
		write()
		if round == 0 {
			if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
				t.Fatal(err)
			}
		}
		write()
		in.StartReady(t, "tcp://")
		in.Drained(t, n)
	}
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, n)
}
