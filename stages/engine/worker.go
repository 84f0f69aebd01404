package engine

import (
	"sync"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/decode"
	"sluice/stages/expression"
	"sluice/stages/match"
	"sluice/stages/parse"
)

// running is what the workers of one graph share.
type running struct {
	engine   *Engine
	decoders map[string]*decode.Decoder
	raw      *decode.Decoder
	dead     DeadOptions
	dict     *state.Dictionary // nil when stashes are not durable

	mu      sync.Mutex
	stashes map[pipeline.Partition]*parse.Stashes
}

// stash returns the partition's stashes. Only the worker whose turn it is uses them.
func (r *running) stash(p pipeline.Partition) *parse.Stashes {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stashes[p]
	if s == nil {
		s = r.engine.Parser.NewStashes()
		if r.dict != nil {
			s.Durable(r.dict, pipeline.PartitionNumber(r.dict, p))
		}
		r.stashes[p] = s
	}
	return s
}

// worker implements pipeline.Worker: decode, parse, enrich, match.
type worker struct {
	*running
	readers  map[string]*decode.Reader
	event    *pipeline.Event
	context  *expression.Context
	parser   *parse.Runner
	matcher  *match.Runner
	observer parse.Observer

	batch *pipeline.Batch
	turn  *pipeline.Turn
	// clock is the highest time of the batch's lines so far, or of the
	// partition once the worker waited for its turn.
	clock  time.Time
	waited bool
}

func (r *running) newWorker() *worker {
	ev := pipeline.NewEvent(r.engine.Schema)
	w := &worker{
		running: r, readers: make(map[string]*decode.Reader), event: ev,
		context: &expression.Context{Event: ev, Decisions: r.engine.Ledger},
		parser:  r.engine.Parser.NewRunner(),
		matcher: r.engine.Matcher.NewRunner(),
	}
	w.parser.BeforeOrdered = w.takeTurn
	return w
}

// takeTurn runs before the first parser node of an event that touches a
// stash: all earlier batches of the partition must have been parsed, and the
// stash's clock is that of the record before (FIDELITY 13).
func (w *worker) takeTurn() {
	if !w.waited {
		w.waited = true
		clock, ok := w.turn.Wait()
		if !ok {
			return // the graph stops; nothing of this batch will be delivered
		}
		if clock.After(w.clock) {
			w.clock = clock
		}
	}
	stash := w.stash(w.batch.Records.Partition)
	clock := w.clock
	if clock.IsZero() { // the partition's first record: it has no clock yet
		clock = w.event.Received
	}
	stash.SetClock(clock)
	w.context.Stash = stash
}

func (w *worker) reader(source string) *decode.Reader {
	r := w.readers[source]
	if r == nil {
		d := w.decoders[source]
		if d == nil {
			d = w.raw
		}
		r = d.NewReader()
		w.readers[source] = r
	}
	return r
}

// Work implements pipeline.Worker.
func (w *worker) Work(b *pipeline.Batch, turn *pipeline.Turn) {
	w.batch, w.turn, w.waited, w.clock = b, turn, false, time.Time{}
	w.context.Stash = nil
	for _, d := range b.Records.Dead {
		b.Stats.CountError(string(pipeline.DeadUnreadable))
		if w.dead.Unreadable {
			d.Position.Partition = b.Records.Partition
			d.Value = d.Value[:min(len(d.Value), w.dead.Bytes)]
			b.Dead = append(b.Dead, d)
		}
	}
	r := w.reader(b.Records.Partition.Source)
	r.Batch(b.Records)
	line := int32(0)
	for i := range b.Records.Records {
		rec := &b.Records.Records[i]
		r.Record(rec)
		for r.Next() {
			w.line(rec, r.Line(), line)
			line++
		}
		if err := r.Err(); err != nil {
			b.Stats.Undecodable++
			b.Stats.CountError(string(err.Reason))
			if w.dead.Undecodable {
				b.Dead = append(b.Dead, pipeline.DeadRecord(pipeline.DeadUndecodable, string(err.Reason), b.Records.Partition, rec, w.dead.Bytes))
			}
		}
	}
	w.event.Reset() // nothing of the batch stays behind
}

func (w *worker) line(rec *pipeline.Record, l *decode.Line, index int32) {
	b, ev := w.batch, w.event
	ev.Reset()
	ev.Position = pipeline.Position{Partition: b.Records.Partition, Offset: rec.Offset, Line: l.Index}
	ev.Received = rec.Time
	if !l.Time.IsZero() {
		ev.Received = l.Time
	}
	ev.Time = ev.Received
	ev.Set(pipeline.SlotLineRaw, l.Text)
	ev.Set(pipeline.SlotLineSrc, b.Records.Partition.Topic)
	ev.Set(pipeline.SlotLineModule, b.Records.Module)
	for i := range l.Labels {
		if lv := &l.Labels[i]; lv.Slot != pipeline.NoSlot {
			ev.Set(lv.Slot, lv.Value)
		} else {
			ev.SetField(pipeline.Label, lv.Name, lv.Value)
		}
	}
	b.Stats.Lines++
	outcome := w.parser.Run(w.context, w.observer)
	if outcome == parse.Parsed || outcome == parse.Whitelisted {
		w.advance(ev, rec, index) // what nobody understands says nothing of the time
	}
	switch outcome {
	case parse.Parsed:
		b.Stats.Parsed++
		before := len(b.Pours)
		b.Pours = w.matcher.Match(w.context, index, &w.engine.keep, &b.Arena, b.Pours)
		b.Stats.Poured += uint64(len(b.Pours) - before)
	case parse.Whitelisted:
		b.Stats.Parsed++
		b.Stats.Whitelisted++
	case parse.Unparsed:
		b.Stats.Unparsed++
		w.unparsed(rec, l, "no parser takes the line")
	default:
		b.Stats.Unparsed++
		b.Stats.CountError(w.parser.AbortReason())
		w.unparsed(rec, l, w.parser.AbortReason())
	}
}

// unparsed keeps a line for the dead letters, if they are to have it.
func (w *worker) unparsed(rec *pipeline.Record, l *decode.Line, reason string) {
	if w.dead.Unparsed {
		w.batch.Dead = append(w.batch.Dead, pipeline.DeadLine(pipeline.DeadUnparsed, reason, w.event.Position, l.Text, rec, w.dead.Bytes))
	}
}

// advance moves the clock to the line's time, cut to its receipt plus what
// the engine allows for clocks that run ahead.
func (w *worker) advance(ev *pipeline.Event, rec *pipeline.Record, index int32) {
	t := ev.Time
	if limit := rec.Time.Add(w.engine.opts.MaxFuture); t.After(limit) {
		t = limit
	}
	if t.After(w.clock) {
		w.clock = t
		w.batch.Steps = append(w.batch.Steps, pipeline.ClockStep{Line: index, Position: ev.Position, Clock: t})
	}
}
