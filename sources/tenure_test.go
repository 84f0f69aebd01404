package sources_test

import (
	"testing"

	"sluice/sources"
)

func TestWhetherACommitWasAccepted(t *testing.T) {
	own := func(began int64) sources.Tenure { return sources.Tenure{Began: began, Member: "me", Own: true} }
	other := func(began int64) sources.Tenure { return sources.Tenure{Began: began, Member: "other"} }
	type history = []sources.Tenure
	var full history
	for i := range sources.HistoryLength {
		full = append(full, other(int64(100-10*i))) // 100 … 30
	}
	const yes, no, open = "accepted", "refused", "unknown"
	for _, c := range []struct {
		name                string
		history             history // newest first
		committed, position int64
		want                string
	}{
		{"the group stands there, in our tenure", history{own(10)}, 20, 20, yes},
		{"the group stands further, in our tenure", history{own(10)}, 30, 20, yes},
		{"the group stands before it and nobody went on", history{own(10)}, 15, 20, open},
		{"a later tenure began there", history{other(20), own(10)}, 30, 20, yes},
		{"a later tenure began before it", history{other(15), own(10)}, 15, 20, no},
		{"a later tenure began before it and came to the same offset", history{other(15), own(10)}, 20, 20, no},
		{"a later tenure began where ours did", history{other(10), own(10)}, 15, 20, no},
		{"a later commit of our tenure was accepted", history{other(25), own(10)}, 30, 20, yes},
		{"only the tenure after ours counts", history{other(30), other(20), other(10), own(10)}, 30, 20, no},
		{"our newest tenure counts", history{own(20), other(15), own(10)}, 30, 30, yes},
		{"our newest tenure has seen what became of it", history{own(30), other(10), own(10)}, 30, 20, no},
		{"two of our tenures in a row", history{own(20), own(10)}, 20, 20, yes},
		{"two of our tenures in a row, and the later reached it", history{own(15), own(10)}, 20, 20, yes},
		{"our tenure began with nothing committed", history{other(20), own(-1)}, 30, 20, yes},
		{"the next tenure too began with nothing committed", history{other(-1), own(-1)}, 30, 20, no},
		{"our tenure had nothing accepted and left no trace", history{other(-1)}, 20, 20, no},
		{"no history, the group stands there", nil, 20, 20, yes},
		{"no history, the group stands before it", nil, 10, 20, open},
		{"no history, the group stands further", nil, 30, 20, open},
		{"nothing committed at all", nil, -1, 20, open},
		{"committed before the group had tenures", history{other(20)}, 30, 20, yes},
		{"a group's first tenure began before it", history{other(10)}, 30, 20, no},
		{"a group's first tenure began after it", history{other(25)}, 30, 20, open},
		{"ours is forgotten and all others began before it", full, 110, 120, no},
		{"ours is forgotten, the oldest began before it", full, 110, 35, no},
		{"ours is forgotten, the oldest began there", full, 110, 30, open},
		{"ours is forgotten, the oldest began after it", full, 110, 20, open},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := open
			switch accepted, known := sources.Accepted(c.history, c.committed, c.position); {
			case accepted && known:
				got = yes
			case known:
				got = no
			case accepted:
				got = "accepted but unknown"
			}
			if got != c.want {
				t.Errorf("position %d, committed %d, tenures %v: %s, want %s", c.position, c.committed, c.history, got, c.want)
			}
		})
	}
}
