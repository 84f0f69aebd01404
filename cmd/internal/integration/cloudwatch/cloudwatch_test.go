//go:build integration

package cloudwatch

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"sluice/cmd/internal/integration/mototest"
	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// logs is a moto with log groups, and the only one that puts events into them:
// lines that are numbered through.
type logs struct {
	server *mototest.Server
	client *cloudwatchlogs.Client
	groups []string
	put    int
	puts   int
}

// streams is how many streams a group has.
const streams = 3

func newLogs(t *testing.T, groups ...string) *logs {
	t.Helper()
	server := mototest.Need(t).Start(t)
	l := &logs{server: server, client: cloudwatchlogs.NewFromConfig(server.Config()), groups: groups}
	for _, group := range groups {
		l.create(t, group)
	}
	return l
}

func (l *logs) create(t *testing.T, group string) {
	t.Helper()
	if _, err := l.client.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil {
		t.Fatal(err)
	}
	for i := range streams {
		if _, err := l.client.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{
			LogGroupName: &group, LogStreamName: aws.String(fmt.Sprint(i)),
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// source is the configuration of sluice's source, which reads through an address.
func (l *logs) source(address string, more map[string]any) rig.Config {
	c := map[string]any{
		"group_prefix": "/test/", "start": "oldest", "overlap": "20s", "poll_interval": "200ms", "refresh_interval": "1s",
		"requests_per_second": 100, "backoff_max": "500ms",
	}
	for key, value := range more {
		c[key] = value
	}
	return rig.Probing(l.server.Source("cloudwatch", address, c))
}

// produce puts the next n lines, each batch into another stream; every third
// batch is of events that are some seconds late.
func (l *logs) produce(ctx context.Context, n int) error {
	for n > 0 {
		batch := min(n, 50)
		at := time.Now()
		if l.puts%3 == 2 {
			at = at.Add(-4 * time.Second)
		}
		in := &cloudwatchlogs.PutLogEventsInput{
			LogGroupName: &l.groups[l.puts%len(l.groups)], LogStreamName: aws.String(fmt.Sprint(l.puts % streams)),
		}
		for i := range batch {
			in.LogEvents = append(in.LogEvents, types.InputLogEvent{Message: aws.String(rig.Line(l.put + i)), Timestamp: aws.Int64(at.UnixMilli())})
		}
		if _, err := l.client.PutLogEvents(ctx, in); err != nil {
			return err
		}
		l.put += batch
		l.puts++
		n -= batch
	}
	return nil
}

func (l *logs) mustProduce(t *testing.T, n int) {
	t.Helper()
	if err := l.produce(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

// TestKilledWhileEventsCome kills sluice again and again under load.
func TestKilledWhileEventsCome(t *testing.T) {
	l := newLogs(t, "/test/a", "/test/b")
	in := rig.New(t, "one", l.source(l.server.Address, nil))
	kills := in.KillUnder(t, rig.Load{
		Kills: 5, Rounds: 8, Pause: 50 * time.Millisecond,
		Produce: func(ctx context.Context) error { return l.produce(ctx, 50) },
	})
	in.Drained(t, l.put)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, l.put)
	t.Logf("%d events, %d kills", l.put, kills)
}

// TestAWSGoesAwayAndComesBack takes moto away for a while, during which events
// come and a group is made.
func TestAWSGoesAwayAndComesBack(t *testing.T) {
	l := newLogs(t, "/test/a")
	proxy := mototest.NewProxy(t, l.server.Address)
	in := rig.New(t, "one", l.source(proxy.Address, nil))
	in.Start(t)
	l.mustProduce(t, 300)
	in.Drained(t, l.put)
	proxy.Down()
	l.mustProduce(t, 300)
	l.groups = append(l.groups, "/test/new")
	l.create(t, "/test/new")
	l.mustProduce(t, 300)
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	proxy.Up()
	l.mustProduce(t, 300)
	in.Drained(t, l.put)
	in.WaitFor(t, "reading goes on")
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, l.put)
	if lost, back := in.Said("reading is interrupted"), in.Said("reading goes on"); lost != 1 || back != 1 {
		t.Errorf("the outage was told %d times and its end %d times, want once each", lost, back)
	}
}

// TestAWindowIsReadAndEnds reads what lies between two times, and nothing else.
func TestAWindowIsReadAndEnds(t *testing.T) {
	l := newLogs(t, "/test/a", "/test/b")
	l.mustProduce(t, 1000)
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Second)
	in := rig.New(t, "one", l.source(l.server.Address, map[string]any{
		"start": from.Format(time.RFC3339), "end": to.Format(time.RFC3339), "overlap": "1s",
	}))
	in.Start(t)
	in.Drained(t, l.put)
	in.WaitFor(t, "the state is loaded")
	if err := rig.Poll(t.Context(), "the end of the window", func() (bool, error) { return in.Ended() != nil, nil }); err != nil {
		t.Fatal(err)
	}
	in.Tally(t).ExactlyOnce(t, l.put)
}
