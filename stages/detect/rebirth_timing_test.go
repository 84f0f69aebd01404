package detect_test

import (
	"fmt"
	"testing"

	"sluice/pipeline"
	"sluice/stages/detect"
	"sluice/stages/rules"
	"time"
)

// BenchmarkRebirth: one hot key overflows at every second pour; other buckets live beside it or not.
func BenchmarkRebirth(b *testing.B) {
	for _, others := range []int{0, 1} {
		b.Run(fmt.Sprint("others=", others), func(b *testing.B) {
			r := newRig(b, []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour}})
			s := r.d.NewShard(detect.ShardOptions{Free: true})
			ev := pipeline.NewEvent(r.schema)
			ev.Time, ev.Received = t0, t0
			var arena pipeline.KeptArena
			k := arena.Keep(ev, r.keep)
			part := pipeline.Partition{Source: "t"}
			for i := range others {
				s.Apply(part, nil, []*pipeline.Pour{{Key: fmt.Sprint("o", i), Event: k}}, nil)
			}
			p := []*pipeline.Pour{{Key: "hot", Event: k}}
			var out []pipeline.Overflow
			b.ReportAllocs()
			for b.Loop() {
				out = s.Apply(part, nil, p, out[:0])
			}
		})
	}
}
