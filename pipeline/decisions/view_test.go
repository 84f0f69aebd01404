package decisions

import (
	"testing"
	"time"
)

// TestSelectShowsWhatThereWas changes an index in every way while it is read,
// over several pages: what is read is what there was at the beginning.
func TestSelectShowsWhatThereWas(t *testing.T) {
	const n = 3 * chunkSlots
	x := &Index{}
	add := func(i int, length time.Duration) {
		d := Decision{Scope: "Ip", Value: address(i).String(), Type: "ban", Until: begin.Add(length)}
		if _, err := x.Add(&d); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		add(i, time.Hour+time.Duration(i%2)*time.Hour)
	}
	x.Remove(&Filter{ID: 1}, Deleted, begin) // it was gone before, and leaves a slot to be used again
	x.Forget(x.Seq())
	want := make(map[int64]string)
	for id := int64(2); id <= n; id++ {
		want[id] = address(int(id - 1)).String()
	}
	changes := map[int]func(){
		0: func() { // before all but the first page is read
			for i := n - 100; i < n; i++ {
				d := Decision{Scope: "Ip", Value: address(i).String(), Type: "ban"}
				x.Remove(&Filter{Scope: d.Scope, Value: d.Value}, Deleted, begin)
				add(i, 4*time.Hour) // as a list does that is imported again
			}
		},
		chunkSlots:     func() { x.Expire(begin.Add(time.Hour), n) },
		2 * chunkSlots: func() { add(n, time.Hour) },
	}
	at := 0
	x.Select(&Filter{}, begin, func(d *Decision) bool {
		if change := changes[at]; change != nil {
			change()
		}
		at++
		if want[d.ID] != d.Value {
			t.Errorf("it tells of decision %d on %s", d.ID, d.Value)
		}
		delete(want, d.ID)
		return true
	})
	if len(want) > 0 {
		t.Errorf("%d of %d are missing", len(want), n-1)
	}
	now := make(map[string]bool)
	x.Select(&Filter{}, begin.Add(time.Hour), func(d *Decision) bool {
		now[d.Value] = true
		return true
	})
	if want := n/2 + 50; len(now) != want { // half of them last longer, and half of those that were imported again do now
		t.Errorf("afterwards there are %d, want %d", len(now), want)
	}
}
