package app

import (
	"log/slog"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// counting is a source that has counted.
type counting struct {
	sources.Source
	name  string
	stats sources.Stats
}

func (c *counting) Name() string         { return c.name }
func (c *counting) Stats() sources.Stats { return c.stats }

func TestTheStatusHasWhatSourcesCount(t *testing.T) {
	p := &Pipeline{log: slog.New(slog.DiscardHandler), sources: []sources.Source{
		&counting{name: "a", stats: sources.Stats{
			Connections: 2, Redelivered: 3, Drops: map[string]uint64{"too long": 5},
			Partitions: []sources.PartitionStats{{Next: 3, HighWatermark: 10}},
		}},
		&counting{name: "b", stats: sources.Stats{Connections: 1, Redelivered: 4}},
	}}
	s := p.Status()
	if s.Connections != 3 || s.redelivered() != 7 || s.dropped() != 5 || s.Drops["a"]["too long"] != 5 || s.Lag != 7 {
		t.Errorf("%+v", s)
	}
}

func TestTheStatusLineShowsWhatListenersDrop(t *testing.T) {
	before := Status{Drops: map[string]map[string]uint64{"syslog": {"message too long": 2}}}
	for _, c := range []struct {
		name string
		s    Status
		want string
	}{
		{"nothing is dropped", Status{}, "0 lines/s · lag 0 · 0 lines, 0 unparsed · 0 buckets · 0 alerts"},
		{"peers, and nothing new since the line before", Status{Connections: 3, Drops: before.Drops},
			"0 lines/s · lag 0 · 0 lines, 0 unparsed · 0 buckets · 0 alerts · 3 connected · 2 dropped by sources"},
		{"repeats", Status{Redelivered: map[string]uint64{"mqtt": 3, "amqp": 4}},
			"0 lines/s · lag 0 · 0 lines, 0 unparsed · 0 buckets · 0 alerts · 7 delivered again"},
		{"more since", Status{
			BatchStats: pipeline.BatchStats{Lines: 20},
			Drops:      map[string]map[string]uint64{"syslog": {"message too long": 2, "kernel buffer full": 7}, "http": {"body too long": 1}},
		}, "10 lines/s · lag 0 · 20 lines, 0 unparsed · 0 buckets · 0 alerts · 10 dropped by sources, 8 just now"},
	} {
		if got := c.s.line(before, 2*time.Second); got != c.want {
			t.Errorf("%s: %q\nwant %q", c.name, got, c.want)
		}
	}
}
