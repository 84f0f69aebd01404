package detect

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/rules"
)

// origin is the time 0s of a script.
var origin = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

// A script line is a line of a log and the pours that it makes:
//
//	5s a            at 5s, pours into document 0 with key a
//	5s a 1:a        pours into documents 0 and 1
//	5s a d=x s=y    with the distinct value x and the scope value y
//	5s a cancel     cancel_on is true; failed: an expression failed
//	5s a u=bob      the event has evt.Meta.user
//	5s @1 a         the line is of partition 1
//	5s              no pour, but the clock moves
//
// d, s, cancel and failed belong to the pour before them.
type scriptLine struct {
	at    time.Duration
	part  int32
	meta  map[string]string
	pours []pipeline.Pour
}

func parseScript(t testing.TB, lines []string) []scriptLine {
	t.Helper()
	var out []scriptLine
	for _, text := range lines {
		words := strings.Fields(text)
		at, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatalf("script line %q: %v", text, err)
		}
		l := scriptLine{at: at, meta: map[string]string{}}
		last := func() *pipeline.Pour { return &l.pours[len(l.pours)-1] }
		for _, w := range words[1:] {
			name, value, isPair := strings.Cut(w, "=")
			switch {
			case w == "cancel":
				last().Cancel = true
			case w == "failed":
				last().Failed = true
			case strings.HasPrefix(w, "@"):
				n, _ := strconv.Atoi(w[1:])
				l.part = int32(n)
			case isPair && name == "d":
				last().Distinct = value
			case isPair && name == "s":
				last().Scope = value
			case isPair && name == "u":
				l.meta["user"] = value
			default:
				doc, key, numbered := strings.Cut(w, ":")
				n, err := strconv.Atoi(doc)
				if !numbered || err != nil {
					n, key = 0, w
				}
				l.pours = append(l.pours, pipeline.Pour{Scenario: int32(n), Key: key})
			}
		}
		out = append(out, l)
	}
	return out
}

// bench is a detector with what is needed to make events for it.
type bench struct {
	detector *Detector
	schema   *pipeline.Schema
	keep     *pipeline.KeepSet
}

func compileBench(t testing.TB, o Options, docs ...*rules.Scenario) *bench {
	t.Helper()
	schema := pipeline.NewSchema()
	schema.Slot(pipeline.Meta, "user")
	schema.Slot(pipeline.Meta, "line")
	c := expression.NewCompiler(schema, funcs.NewData(), expression.Options{})
	for i, d := range docs {
		if d.Name == "" {
			d.Name = fmt.Sprintf("test/s%d", i)
		}
		if !d.Filter.Set {
			d.Filter = text("true")
		}
	}
	d, errs := Compile(docs, c, o)
	for _, err := range errs {
		t.Fatal(err)
	}
	b := &bench{detector: d, schema: schema, keep: &pipeline.KeepSet{}}
	d.AddReads(b.keep)
	b.keep.Prepare(schema)
	return b
}

func text(s string) rules.Text { return rules.Text{Value: s, Set: s != ""} }

// cutting says how a script is run; it must make no difference.
type cutting struct {
	shards int
	// batch is how many lines go into one Apply; 0 cuts at random.
	batch int
	seed  uint64
	opts  ShardOptions
	looks int
}

// run applies a script to shards and returns the overflows in the graph's
// order, and what the shards hold in the end. Batches share one arena, which
// is overwritten after each.
func (b *bench) run(t testing.TB, script []scriptLine, c cutting) ([]pipeline.Overflow, State, Stats) {
	t.Helper()
	r := rand.New(rand.NewPCG(c.seed, 7))
	shards := make([]*Shard, max(c.shards, 1))
	for i := range shards {
		shards[i] = b.detector.NewShard(c.opts)
		if c.looks > 0 {
			shards[i].looks = c.looks
		}
	}
	f := b.newFeeder()
	var all []pipeline.Overflow
	for from := 0; from < len(script); {
		size := c.batch
		if size == 0 {
			size = 1 + r.IntN(20)
		}
		from, all = f.feed(script, from, size, shards, all)
	}
	sortOverflows(all)
	var (
		state State
		stats Stats
	)
	for _, s := range shards {
		st := s.Export()
		state.Buckets = append(state.Buckets, st.Buckets...)
		state.Blackholes = append(state.Blackholes, st.Blackholes...)
		stats.Add(s.Stats())
	}
	state.sort()
	return all, state, stats
}

// feeder makes batches of a script's lines on one arena, which is overwritten after each.
type feeder struct {
	*bench
	arena  pipeline.KeptArena
	ev     *pipeline.Event
	clocks map[int32]time.Duration
}

func (b *bench) newFeeder() *feeder {
	return &feeder{bench: b, ev: pipeline.NewEvent(b.schema), clocks: map[int32]time.Duration{}}
}

// feed applies a batch of up to size lines of one partition, and returns the
// line after it and the overflows.
func (f *feeder) feed(script []scriptLine, from, size int, shards []*Shard, all []pipeline.Overflow) (int, []pipeline.Overflow) {
	partition := pipeline.Partition{Source: "test", Topic: "log", ID: script[from].part}
	var (
		steps []pipeline.ClockStep
		pours = make([][]*pipeline.Pour, len(shards))
	)
	to := from
	for ; to < len(script) && to-from < size && script[to].part == script[from].part; to++ {
		l := &script[to]
		line := int32(to - from)
		position := pipeline.Position{Partition: partition, Offset: int64(to)}
		now := origin.Add(l.at)
		if l.at > f.clocks[l.part] {
			f.clocks[l.part] = l.at
			steps = append(steps, pipeline.ClockStep{Line: line, Position: position, Clock: now})
		}
		if len(l.pours) == 0 {
			continue
		}
		f.ev.Reset()
		f.ev.Time, f.ev.Received, f.ev.Position = now, now, position
		f.ev.SetField(pipeline.Meta, "line", strconv.Itoa(to))
		for k, v := range l.meta {
			f.ev.SetField(pipeline.Meta, k, v)
		}
		kept := f.arena.Keep(f.ev, f.keep)
		for _, p := range l.pours {
			p.Line, p.Event = line, kept
			p.Key, p.Distinct, p.Scope = f.arena.Copy(p.Key), f.arena.Copy(p.Distinct), f.arena.Copy(p.Scope)
			shard := f.route(p.Scenario, p.Key) % uint32(len(shards))
			pours[shard] = append(pours[shard], &p)
		}
	}
	for i, s := range shards {
		all = s.Apply(partition, steps, pours[i], all)
	}
	f.arena.Poison()
	f.arena.Reset()
	return to, all
}

// route stands in for match.Matcher.Route.
func (b *bench) route(doc int32, key string) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, b.detector.docs[doc].group, key)
	return h.Sum32()
}

// sortOverflows puts overflows into the graph's order.
func sortOverflows(all []pipeline.Overflow) {
	slices.SortStableFunc(all, func(a, b pipeline.Overflow) int {
		return cmp.Or(
			cmp.Compare(a.Cause.Offset, b.Cause.Offset), cmp.Compare(a.Scenario, b.Scenario),
			cmp.Compare(a.Ordinal, b.Ordinal), cmp.Compare(a.Key, b.Key),
		)
	})
}

// describe renders an overflow: the causing line, document and key, the
// count, the lines of the events kept, first and last time, and what else is there.
func describe(o *pipeline.Overflow) string {
	var lines []string
	for i, ev := range o.Queue {
		line, _ := ev.Field(pipeline.Meta, "line")
		if o.Scopes[i] != "" {
			line += "(" + o.Scopes[i] + ")"
		}
		lines = append(lines, line)
	}
	s := fmt.Sprintf("%d: %d:%s n=%d [%s] %v-%v", o.Cause.Offset, o.Scenario, o.Key, o.Count,
		strings.Join(lines, " "), o.FirstTime.Sub(origin), o.LastTime.Sub(origin))
	if o.Ordinal > 0 {
		s += fmt.Sprintf(" #%d", o.Ordinal)
	}
	return s
}

func describeAll(overflows []pipeline.Overflow) []string {
	out := []string{}
	for i := range overflows {
		out = append(out, describe(&overflows[i]))
	}
	return out
}
