package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sluice/pipeline"
	"sluice/pipeline/journal"
	"sluice/sources"
)

// journaled appends entries to a journal, and emits what is in it. The offset
// in the journal is the position in every partition.
type journaled struct {
	in     *Intake
	health *sources.Health
	door   door
	gaps   atomic.Uint64

	emissions sync.Pool

	mu      sync.Mutex
	journal *journal.Journal // nil before Run
	closed  bool
	next    map[journal.Stream]int64 // offset behind the last record emitted
	through map[string]string        // where no state is kept: what was committed, as marks
}

func newJournaled(in *Intake) *journaled {
	return &journaled{in: in, health: sources.NewHealth(in.env.Log), through: make(map[string]string)}
}

func (w *journaled) run(ctx context.Context, from sources.Positions, out sources.Emit, receive func(context.Context) error) error {
	j, start, err := w.open(from)
	if err != nil {
		return err
	}
	ctx, err = w.door.open(ctx)
	if err != nil {
		return err
	}
	// The journal is written until the last Put has left; what it holds is
	// emitted to its end where the source ends by itself.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var all errgroup.Group
	all.Go(func() error {
		err := j.Run(writing)
		w.door.fail(context.Background(), err)
		return err
	})
	all.Go(func() error {
		w.door.fail(ctx, w.emit(ctx, j, start, out))
		return nil
	})
	all.Go(func() error {
		defer stopWriting() // whatever becomes of receive: the writer waits for it
		w.door.close(receive(ctx))
		return nil
	})
	failed := all.Wait()
	if err := w.door.end(); failed == nil {
		return err
	}
	return failed
}

// open opens the journal and returns from where it is read.
func (w *journaled) open(from sources.Positions) (*journal.Journal, map[journal.Stream]int64, error) {
	c := &w.in.config.Journal
	j, err := journal.Open(journal.Options{
		Dir: w.in.dir(), SegmentBytes: int64(c.SegmentBytes), MaxBytes: int64(c.MaxBytes), Log: w.in.env.Log,
		Trouble: w.trouble, After: w.in.env.Clock.After, Reserve: w.reserve(),
	})
	if err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	w.journal = j // Close closes it
	w.mu.Unlock()
	start := make(map[journal.Stream]int64, len(from))
	for p, at := range from {
		start[journal.Stream{Topic: p.Topic, ID: p.ID}] = at
	}
	marks := j.Marks()
	for name, at := range marks {
		s, ok := throughStream(name)
		if !ok {
			continue
		}
		delete(marks, name)
		if offset, err := strconv.ParseInt(at, 10, 64); err == nil && !w.stateful() {
			start[s] = max(start[s], offset)
		}
	}
	w.in.mark(marks)
	if w.stateful() {
		if err := w.compare(j, start); err != nil {
			return nil, nil, err
		}
	}
	w.mu.Lock()
	w.next = maps.Clone(start)
	w.mu.Unlock()
	return j, start, j.Trim(start)
}

// stateful tells whether a state is kept, whose positions say what was counted.
func (w *journaled) stateful() bool { return w.in.env.Dir != "" }

// compare finds out whether the journal reaches to where the state stands.
func (w *journaled) compare(j *journal.Journal, start map[journal.Stream]int64) error {
	begins, ends := j.Begins(), j.Ends()
	ahead := make(map[journal.Stream]int64)
	var wrong error
	for s, begin := range begins {
		if at := start[s]; at < begin {
			wrong = fmt.Errorf("the state stands at offset %d of %s, and the journal in %s holds nothing before %d any more: the state is "+
				"older than the journal, or new", at, w.in.partition(s.Topic, s.ID), w.in.dir(), begin)
		}
	}
	for s, at := range start {
		if end := ends[s]; at > end {
			ahead[s] = at
			wrong = fmt.Errorf("the state stands at offset %d of %s, and the journal in %s ends at %d: the journal was lost, or is older than "+
				"the state, or the source had none before", at, w.in.partition(s.Topic, s.ID), w.in.dir(), end)
		}
	}
	switch {
	case wrong == nil:
		return nil
	case w.in.config.Journal.Missing != missingFresh:
		return fmt.Errorf("%w; bring back the state and the journal of one moment, or set journal.missing to fresh for one start, to go on "+
			"without the records between", wrong)
	}
	w.gaps.Add(1)
	w.in.env.Log.Warn("records are missing between the state and the journal; the source goes on without them, as journal.missing says", "reason", wrong)
	j.Advance(ahead)
	return nil
}

// reserve returns what tells how much of the disk the journal leaves to the
// state: more than that needs, since a state that is short of room lets nothing out of the journal. A
// journal on another disk leaves nothing.
func (w *journaled) reserve() func() int64 {
	if w.in.env.Reserve == nil || w.in.config.Journal.Dir != "" && !sameDisk(w.in.config.Journal.Dir, filepath.Dir(w.in.env.Dir)) {
		return nil
	}
	var asked time.Time
	var reserve int64
	return func() int64 { // the journal's one writer calls it
		if now := w.in.env.Clock.Now(); now.Sub(asked) >= time.Second {
			asked = now
			if needs := w.in.env.Reserve(); needs > 0 {
				reserve = needs + needs/4 + spare
			}
		}
		return reserve
	}
}

// sameDisk tells whether two folders are on one file system, as far as they are there.
func sameDisk(a, b string) bool {
	var of [2]unix.Stat_t
	for i, dir := range []string{a, b} {
		for unix.Stat(dir, &of[i]) != nil {
			up := filepath.Dir(dir)
			if up == dir {
				return false
			}
			dir = up // it is made there
		}
	}
	return of[0].Dev == of[1].Dev
}

// spare is how much more the journal leaves free than the state needs.
const spare = 64 << 20

// trouble is told whether the journal can be written.
func (w *journaled) trouble(err error) {
	const what = "journal"
	if err != nil {
		w.health.Failed(what, err)
	} else {
		w.health.Well(what)
	}
}

// emit emits what the journal holds and gets.
func (w *journaled) emit(ctx context.Context, j *journal.Journal, from map[journal.Stream]int64, out sources.Emit) (err error) {
	r := j.Reader(from)
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s := b.Stream
		next := b.Records[len(b.Records)-1].Offset + 1
		w.in.count(b.Records)
		e := w.emission(b)
		e.Partition, e.Next, e.HighWatermark = w.in.partition(s.Topic, s.ID), next, max(next, j.End(s))
		if err := out(ctx, &e.RecordBatch); err != nil {
			return err
		}
		w.mu.Lock()
		w.next[s] = next
		w.mu.Unlock()
	}
}

// emission is a batch on its way, with its own Release, so that it can be used again.
type emission struct {
	pipeline.RecordBatch
	batch *journal.Batch
}

func (w *journaled) emission(b *journal.Batch) *emission {
	e, ok := w.emissions.Get().(*emission)
	if !ok {
		e = &emission{}
		e.Module = w.in.module
		e.Release = func() {
			b := e.batch
			e.batch, e.Records, e.Labels = nil, nil, nil
			w.emissions.Put(e)
			b.Release()
		}
	}
	e.batch, e.Records, e.Labels = b, b.Records, b.Labels
	return e
}

func (w *journaled) put(ctx context.Context, e *Entry, acked func(error)) error {
	defer e.release()
	ctx, leave, err := w.door.enter(ctx)
	if err == nil {
		defer leave()
		err = w.journal.Append(ctx, &journal.Entry{
			Stream: journal.Stream{Topic: e.Topic, ID: e.ID}, Labels: e.Labels, Records: e.Records, Marks: e.Marks,
		}, acked)
	}
	if err != nil {
		acked(err)
		return err
	}
	w.in.mark(e.Marks)
	return nil
}

func (w *journaled) opened() *journal.Journal {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.journal
}

func (w *journaled) full() bool {
	j := w.opened()
	return j != nil && j.Full()
}

// commit lets what was counted leave the journal.
func (w *journaled) commit(next sources.Positions) error {
	j := w.opened()
	if j == nil {
		return nil // Run learns it as from
	}
	through := make(map[journal.Stream]int64, len(next))
	for p, at := range next {
		through[journal.Stream{Topic: p.Topic, ID: p.ID}] = at
	}
	err := j.Trim(through)
	if !w.stateful() {
		w.remember(j, through)
	}
	return err
}

// remember keeps positions in the journal itself, where no state holds them.
// What does not make it to the disk is emitted once more after a crash.
func (w *journaled) remember(j *journal.Journal, through map[journal.Stream]int64) {
	w.mu.Lock()
	for s, at := range through {
		w.through[throughMark(s)] = strconv.FormatInt(at, 10)
	}
	marks := maps.Clone(w.through)
	w.mu.Unlock()
	now, cancel := context.WithCancel(context.Background())
	cancel() // a journal that is full, or has ended, need not take it
	_ = j.Append(now, &journal.Entry{Marks: marks}, func(error) {})
}

// Marks of the intake's own begin with a byte that no source's do.
const throughPrefix = "\x00through\x00"

func throughMark(s journal.Stream) string {
	return throughPrefix + strconv.Itoa(int(s.ID)) + "\x00" + s.Topic
}

// throughStream returns whose mark it is; false for a source's own.
func throughStream(name string) (s journal.Stream, ok bool) {
	rest, ok := strings.CutPrefix(name, throughPrefix)
	id, topic, found := strings.Cut(rest, "\x00")
	n, err := strconv.ParseInt(id, 10, 32)
	return journal.Stream{Topic: topic, ID: int32(n)}, ok && found && err == nil
}

func (w *journaled) fill(s *sources.Stats) {
	var own sources.Stats
	w.health.Fill(&own)
	s.Errors += own.Errors
	s.Reconnects += own.Reconnects
	s.Gaps += w.gaps.Load()
	j := w.opened()
	if j == nil {
		return
	}
	ends := j.Ends()
	w.mu.Lock()
	defer w.mu.Unlock()
	for stream, end := range ends {
		next := w.next[stream]
		s.Partitions = append(s.Partitions, sources.PartitionStats{
			Partition: w.in.partition(stream.Topic, stream.ID), Next: next, HighWatermark: max(next, end),
		})
	}
	sortPartitions(s.Partitions)
}

func (w *journaled) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.journal == nil || w.closed {
		return nil
	}
	w.closed = true
	return w.journal.Close(w.through)
}
