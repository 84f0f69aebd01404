package kinesis

import (
	"fmt"
	"time"
)

// gapSlack is how much may be missed, by the time of arrival, before it counts
// as a gap: a reader that begins at the oldest record is overtaken now and
// then by the stream throwing it away, and clocks differ.
const gapSlack = time.Minute

// gapWatch finds out that a stream threw records away before they were read.
// Sequence numbers cannot tell, since they are not consecutive; but a shard
// of which everything is read that arrived until some time has lost whatever
// arrived between that time and the oldest that the stream still keeps.
type gapWatch struct {
	missed time.Duration
}

// check is called before each read with the mark that it goes on from. It
// tells whether a gap has become certain or large enough to speak of.
func (g *gapWatch) check(seen, now time.Time, retention time.Duration) bool {
	if seen.IsZero() || retention <= 0 {
		return false
	}
	if lost := now.Add(-retention).Sub(seen); lost > 0 {
		g.missed += lost
	}
	if g.missed <= gapSlack {
		return false
	}
	g.missed = 0
	return true
}

// gap counts a gap, and returns an error where the configuration wants one.
// The shard is "" for all of them.
func (s *Source) gap(shard, why string) error {
	if s.config.OnGap == gapFail {
		where := "stream " + s.config.streamName()
		if shard != "" {
			where += ", " + shard
		}
		return fmt.Errorf("kinesis: %s: %s, so records may be lost; set on_gap: skip to go on at the oldest record there is", where, why)
	}
	s.gaps.Add(1)
	s.log.Error("records may be lost; reading goes on at the oldest one there is", "shard", shard, "why", why)
	return nil
}
