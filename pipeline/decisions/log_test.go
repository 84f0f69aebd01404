package decisions

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// TestChangeLogIsAQueue holds a log to a slice of the same changes, over many
// chunks, and the memory that it keeps to the changes that it has.
func TestChangeLogIsAQueue(t *testing.T) {
	var l changeLog
	var want []change
	r := rand.New(rand.NewPCG(1, 2))
	for turn := range 400 {
		if n := r.IntN(chunkChanges); turn%3 == 2 {
			l.extend(n)
			want = append(want, make([]change, n)...)
			if n > 0 {
				l.set(l.len-1, change{ref(turn), Deleted})
				want[len(want)-1] = change{ref(turn), Deleted}
			}
		} else {
			for i := range n {
				c := change{ref(turn<<16 + i), Expired}
				l.add(c)
				want = append(want, c)
			}
		}
		n := r.IntN(min(len(want), 3*chunkChanges) + 1)
		if turn%50 == 49 {
			n = len(want)
		}
		l.forget(n)
		want = slices.Clone(want[n:])
		if l.len != len(want) || len(l.chunks) > len(want)/chunkChanges+2 {
			t.Fatalf("turn %d: %d changes in %d chunks, want %d", turn, l.len, len(l.chunks), len(want))
		}
		for i := range want {
			if l.at(i) != want[i] {
				t.Fatalf("turn %d: change %d is %v, want %v", turn, i, l.at(i), want[i])
			}
		}
	}
}

// TestASlotIsSmall has whoever adds to a slot know that there are millions.
func TestASlotIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(slot{}); size > 72 {
		t.Errorf("a decision takes %d bytes", size)
	}
}
