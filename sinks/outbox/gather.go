package outbox

import (
	"time"

	"sluice/pipeline/component"
	"sluice/sinks"
)

// Batching says how alerts are gathered for a sink: the key batching of every
// sink that has no say in it itself (sinks.Batcher).
type Batching struct {
	// Alerts is how many the sink is given at once, at most. 0 stands for `outbox.batch_alerts`. How many of them one request holds is up to the sink.
	Alerts int `yaml:"alerts"`
	// Wait is how long, with durable state, the first alert of a batch waits for so many, at most. 0s gives what there is at once.
	Wait time.Duration `yaml:"wait"`
}

// longestWait bounds Batching.Wait: what waits longer is hardly an alert any more.
const longestWait = time.Hour

// Validate checks the values; component.Decode places its errors.
func (b *Batching) Validate() error {
	switch {
	case b.Alerts < 0:
		return component.Invalid("alerts", "it is %d; it must be at least 1, or 0 for outbox.batch_alerts", b.Alerts)
	case b.Wait < 0 || b.Wait > longestWait:
		return component.Invalid("wait", "it is %v; it must be between 0 and %v", b.Wait, longestWait)
	}
	return nil
}

// Batch implements sinks.Batcher.
func (b Batching) Batch() (alerts int, wait time.Duration) { return b.Alerts, b.Wait }

// gatherer is how a lane waits for a batch to grow, for a sink that wants that.
type gatherer struct {
	sink  sinks.Batcher
	timer <-chan time.Time // runs while a batch gathers
	over  bool             // its first has waited long enough
}

// patience is readable once the first of a batch has waited long enough. It never is where nothing gathers.
func (g *gatherer) patience() <-chan time.Time {
	if g == nil {
		return nil
	}
	return g.timer
}

// gathers tells whether what waits is to wait for more, or that nothing waits.
// If not, end is behind what that was told of: what is counted a moment later has
// not waited. A batch that failed waits no more, and none does once the outbox drains.
func (l *lane) gathers() (end uint64, yes bool) {
	g := l.gather
	if g == nil || l.again != 0 || l.drain == nil {
		return l.again, false
	}
	want, wait := g.sink.Batch()
	l.d.mu.Lock()
	waiting, bytes, counted, pos := l.waiting, l.bytes, l.d.counted, l.pos
	l.d.mu.Unlock()
	// With half of the quota gathered, the sink's own wishes must not make the sources wait.
	if waiting == 0 || waiting >= want || bytes >= min(batchBytes, l.d.opts.Quota/2) || g.over {
		g.timer, g.over = nil, false
		return counted, counted <= pos
	}
	if g.timer == nil {
		g.timer = l.d.opts.Clock.After(wait)
	}
	return 0, true
}

// fill adds to a batch what follows it, up to the size that the sink wants,
// or to what a lane holds at once. Its end depends on the entries alone, not
// on how they were read.
func (l *lane) fill(b *batch, end uint64) error {
	if l.gather == nil {
		return nil
	}
	want, _ := l.gather.sink.Batch()
	for b.next < end && len(b.items) < want && b.bytes < batchBytes {
		more, err := l.readFrom(b.next, end)
		if err != nil {
			return err
		}
		b.items, b.seqs, b.sizes = append(b.items, more.items...), append(b.seqs, more.seqs...), append(b.sizes, more.sizes...)
		b.bytes, b.next = b.bytes+more.bytes, more.next
	}
	b.cutTo(batchBytes)
	b.cut(max(1, want))
	return nil
}
