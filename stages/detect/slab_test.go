package detect

import (
	"math/rand/v2"
	"testing"
)

func TestSlabGivesEmptyPlacesAndReturnsChunks(t *testing.T) {
	var s slab
	r := rand.New(rand.NewPCG(1, 4))
	live := map[ref]int32{}
	for round := range 200_000 {
		if grow := round < 100_000; len(live) == 0 || r.IntN(3) > 0 == grow {
			n := s.alloc()
			if b := s.at(n); b.count != 0 || b.queue != nil {
				t.Fatalf("place %d is not empty", n)
			}
			if _, taken := live[n]; taken || n == 0 {
				t.Fatalf("place %d was given twice", n)
			}
			live[n] = int32(round + 1)
			s.at(n).count = live[n]
			continue
		}
		for n, count := range live {
			if s.at(n).count != count {
				t.Fatalf("place %d holds another bucket", n)
			}
			s.release(n)
			delete(live, n)
			break
		}
	}
	for n := range live {
		s.release(n)
	}
	left := 0
	for _, c := range s.chunks {
		if c != nil {
			left++
		}
	}
	if left > 1 {
		t.Fatalf("%d of %d chunks are still there, more than the spare one", left, len(s.chunks))
	}
	first := s.chunks[s.spare-1]
	for range 3 { // one that comes and goes alone uses the spare chunk again
		s.release(s.alloc())
	}
	if s.chunks[s.spare-1] != first {
		t.Error("the spare chunk was thrown away")
	}
}
