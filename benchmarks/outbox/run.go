//go:build unix

package outbox

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/sinks"
	"sluice/sinks/outbox"
)

// perEpoch is how many alerts an epoch of the benchmark brings.
const perEpoch = 2000

// Run delivers epochs of alerts to a sink, out of a store on disk, as long as
// the benchmark goes on, and reports alerts a second. The epochs are committed
// while the sink takes those before, as in a pipeline; the end waits for the sink.
func Run(b *testing.B, sink sinks.Sink) {
	b.Helper()
	s, err := state.Open(state.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	if err := s.Load(func(_, _ []byte, _ state.Sum) error { return nil }); err != nil {
		b.Fatal(err)
	}
	d, err := outbox.New(outbox.Options{Log: s, Sinks: []outbox.Target{{Sink: sink}}, Quota: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()

	made, size, before := 0, 0, cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		e := &state.Epoch{Outbox: make([]state.Entry, perEpoch)}
		for i := range e.Outbox {
			payload, err := (&outbox.Item{Alert: alert(made)}).Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			e.Outbox[i].Payload = payload
			made, size = made+1, size+len(payload)
		}
		if _, err := s.Commit(ctx, e); err != nil {
			b.Fatal(err)
		}
		d.Release(s.NextSeq())
		<-d.Unblocked()
	}
	if left := d.Drain(ctx, 5*time.Minute); left > 0 {
		b.Fatalf("%d alerts are left", left)
	}
	b.ReportMetric(float64(made)/b.Elapsed().Seconds(), "alerts/s")
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(made), "cpu-µs/alert")
	b.ReportMetric(float64(size)/float64(made), "B/alert")
	b.ReportMetric(0, "ns/op") // an operation is an epoch
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if got := sink.Stats().Alerts; got != uint64(made) {
		b.Fatalf("the sink has taken %d of %d alerts", got, made)
	}
}

// cpu is the processor time that the process has taken: unlike alerts a
// second it says something on a busy machine, too.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// alert makes one like those of a brute-force scenario: six events with what a
// parser finds in a line of sshd, and a decision.
func alert(n int) *pipeline.Alert {
	address := fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
	at := time.Date(2026, time.March, 3, 10, 0, n%60, 0, time.UTC).Format(time.RFC3339)
	position := pipeline.Position{Partition: pipeline.Partition{Source: "kafka", Topic: "logs", ID: int32(n % 12)}, Offset: int64(n)}
	a := &pipeline.Alert{
		UUID:     uuid.NewSHA1(uuid.NameSpaceOID, []byte(address)).String(),
		Scenario: "crowdsecurity/ssh-bf", ScenarioHash: "4441dcff07020f6690d998b7101e642359ba405c2abb83565bbbdcee36de280f", ScenarioVersion: "0.3",
		Message: "Ip " + address + " performed 'crowdsecurity/ssh-bf' (6 events over 5s) at " + at, EventsCount: 6, StartAt: at, StopAt: at,
		Capacity: 5, Leakspeed: "10s", Remediation: true,
		Source: &pipeline.Source{Scope: "Ip", Value: address, IP: address},
		Meta:   []pipeline.MetaItem{{Key: "target_user", Value: `["root","admin"]`}, {Key: "service", Value: `["ssh"]`}},
		Decisions: []pipeline.Decision{{
			Type: "ban", Scope: "Ip", Value: address, Origin: "crowdsec", Scenario: "crowdsecurity/ssh-bf", Duration: "4h",
		}},
		Sluice: pipeline.AlertOrigin{Key: address, Cause: position, First: position},
	}
	for range 6 {
		a.Events = append(a.Events, pipeline.AlertEvent{Timestamp: at, Meta: []pipeline.MetaItem{
			{Key: "datasource_path", Value: "/var/log/auth.log"}, {Key: "datasource_type", Value: "file"}, {Key: "log_type", Value: "ssh_failed-auth"},
			{Key: "machine", Value: "gate.example.com"}, {Key: "service", Value: "ssh"}, {Key: "source_ip", Value: address}, {Key: "target_user", Value: "root"},
			{Key: "timestamp", Value: at},
		}})
	}
	return a
}
