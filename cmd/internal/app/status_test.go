package app

import (
	"testing"
	"time"

	"sluice/pipeline"
)

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
