package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pipeline"
	"sluice/sources"
)

// reader is where the reading of one stream stands. It is one goroutine's.
type reader struct {
	s        *Source
	stream   *stream
	blocking redis.UniversalClient // for what the server lets wait
	out      sources.Emit

	known  bool  // next is known
	held   bool  // durable state stood at next when the run began
	proven bool  // something was read in this run: what is there after a gap is newer than the state
	ours   bool  // all that the group delivered before next was read here, or is in the state
	next   int64 // the offset to emit from; what is before was emitted
	read   int64 // how many entries were ever added before next; -1 when unknown
	missed int64 // how many entries were trimmed away when that was looked at last, in a shared group
	left   int64 // how many entries are left, as last heard; -1 when unknown
	count  int64 // how many entries to ask for
	// watch says that a request of a connection before this one may still wait at the server, until when.
	watch bool
	until time.Time
	fresh bool // the last answer held fewer entries than were asked for
}

// lookInterval is how often the server is asked how the stream stands.
const lookInterval = 2 * time.Second

// run goes through sessions until ctx is done or nothing helps.
func (r *reader) run(ctx context.Context) error {
	what := "stream " + r.stream.key
	backoff := sources.Backoff{Clock: r.s.clock, Min: r.s.config.BackoffMin, Max: r.s.config.BackoffMax}
	r.count = int64(r.s.config.Count)
	for {
		err := r.session(ctx, func() {
			r.s.health.Well(what)
			backoff.Reset()
		})
		var final *finalError
		var emit *emitError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &emit):
			return emit.err
		case errors.As(err, &final):
			return fmt.Errorf("redis: stream %s: %w", r.stream.key, final.err)
		}
		r.s.health.Failed(what, err)
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// session begins where reading stands and reads until something fails.
func (r *reader) session(ctx context.Context, well func()) error {
	info, _, err := r.look(ctx)
	if err != nil {
		return err
	}
	ask := r.ask
	if r.s.config.Group != "" {
		if err := r.join(ctx); err != nil {
			return err
		}
		ask = r.askGroup
	} else if err := r.begin(ctx, info); err != nil {
		return err
	}
	well()
	look := r.s.clock.After(lookInterval)
	for {
		entries, err := ask(ctx)
		if err != nil {
			return err
		}
		if err := r.take(ctx, entries); err != nil {
			return err
		}
		select {
		case <-look:
			_, m, err := r.look(ctx)
			if err == nil && m != nil {
				err = r.overtake(ctx, m.delivered)
			}
			if err != nil {
				return err
			}
			look = r.s.clock.After(lookInterval)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
	}
}

// begin settles where the reading of a stream without a group begins, and
// tells the pipeline, so that a crash before the first entry begins there as well.
func (r *reader) begin(ctx context.Context, info *standing) error {
	if r.known {
		return nil
	}
	r.known, r.next = true, 1
	if r.s.config.Start == StartLatest {
		r.next = info.last + 1
	}
	return r.tell(ctx)
}

// tell says where reading stands without an entry.
func (r *reader) tell(ctx context.Context) error {
	b := &pipeline.RecordBatch{Partition: r.stream.part, Module: "redis", Next: r.next, HighWatermark: r.next + max(r.left, 0)}
	if err := r.out(ctx, b); err != nil {
		return &emitError{err}
	}
	r.stream.note(r.next, r.left)
	return nil
}

// ask waits for entries behind those that were emitted.
func (r *reader) ask(ctx context.Context) ([]redis.XMessage, error) {
	return r.answer(r.blocking.XRead(ctx, &redis.XReadArgs{
		Streams: []string{r.stream.key, idOf(r.next - 1)}, Count: r.count, Block: r.s.config.Block,
	}).Result())
}

// answer takes the entries out of an answer, and asks for fewer next time when they are large.
func (r *reader) answer(streams []redis.XStream, err error) ([]redis.XMessage, error) {
	if errors.Is(err, redis.Nil) {
		r.fresh = true
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	var entries []redis.XMessage
	for _, s := range streams {
		entries = append(entries, s.Messages...)
	}
	r.fresh = int64(len(entries)) < r.count
	bytes := 0
	for i := range entries {
		bytes += size(&entries[i])
	}
	if bytes > 0 {
		r.count = min(max(int64(r.s.config.MaxBytes)*int64(len(entries))/int64(bytes), 1), int64(r.s.config.Count))
	}
	return entries, nil
}

// take emits the entries that were not emitted yet. With a group, the others
// came again, and are acknowledged when they are through.
func (r *reader) take(ctx context.Context, entries []redis.XMessage) error {
	b := &pipeline.RecordBatch{Partition: r.stream.part, Module: "redis", Labels: r.s.config.Labels}
	offsets := make([]int64, 0, len(entries))
	now := r.s.clock.Now()
	next, fresh := r.next, int64(0)
	var bytes, skipped, fieldless uint64
	for i := range entries {
		offset, err := offsetOf(entries[i].ID)
		if err != nil {
			return &finalError{fmt.Errorf("%w; read it elsewhere and remove it from here with XDEL", err)}
		}
		offsets = append(offsets, offset)
		if offset < next {
			continue
		}
		next = offset + 1
		fresh++
		rec, ok := r.s.config.record(&entries[i], offset, now)
		switch {
		case !ok:
			fieldless++
			b.Dead = append(b.Dead, pipeline.DeadRecord(pipeline.DeadUnreadable, "the entry has no field "+r.s.config.Field, r.stream.part, &rec, deadBytes))
		case len(rec.Value) == 0:
			skipped++
		default:
			bytes += uint64(len(rec.Value))
			b.Records = append(b.Records, rec)
		}
	}
	if r.s.config.Group != "" && len(offsets) > 0 {
		if err := r.remember(ctx, offsets); err != nil {
			return err
		}
	}
	r.advance(fresh)
	if next > r.next {
		b.Next, b.HighWatermark = next, next+max(r.left, 0)
		n := uint64(len(b.Records)) // the batch is the pipeline's once it is emitted
		if err := r.out(ctx, b); err != nil {
			return &emitError{err}
		}
		r.next, r.known, r.proven = next, true, true
		r.s.records.Add(n)
		r.s.bytes.Add(bytes)
		r.s.skipped.Add(skipped)
		r.s.fieldless.Add(fieldless)
	}
	r.stream.note(r.next, r.left)
	return nil
}

// deadBytes bounds a dead letter of an entry.
const deadBytes = 64 << 10

// advance counts entries that were read.
func (r *reader) advance(n int64) {
	if r.read >= 0 {
		r.read += n
	}
	switch {
	case r.fresh:
		r.left = 0
	case r.left > 0:
		r.left = max(r.left-n, 1) // there may be more
	}
}
