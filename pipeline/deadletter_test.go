package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestADeadLetterOwnsAtMostSoManyBytes(t *testing.T) {
	value := []byte("0123456789")
	rec := &Record{
		Value: value, Key: []byte("key"), Headers: []Header{{Key: "h", Value: []byte("value")}},
		Offset: 7, Time: time.Unix(1, 0),
	}
	for _, test := range []struct {
		limit, value, key, headers int
	}{
		{100, 10, 3, 1},
		{19, 10, 3, 1},
		{18, 10, 3, 0}, // the headers do not fit
		{12, 10, 0, 0}, // nor the key
		{4, 4, 0, 0},   // nor all of the value
	} {
		d := DeadRecord(DeadUndecodable, "json", Partition{Topic: "t"}, rec, test.limit)
		if len(d.Value) != test.value || len(d.Key) != test.key || len(d.Headers) != test.headers || d.Size != 10 {
			t.Errorf("limit %d: %d bytes, key of %d, %d headers, size %d", test.limit, len(d.Value), len(d.Key), len(d.Headers), d.Size)
		}
		if d.Position.Offset != 7 || d.Position.Line != -1 || !d.Time.Equal(rec.Time) {
			t.Errorf("limit %d: %+v", test.limit, d)
		}
	}
	d := DeadRecord(DeadUndecodable, "json", Partition{}, rec, 100)
	l := DeadLine(DeadUnparsed, "", Position{Offset: 7, Line: 2}, "a line", rec, 100)
	value[0], rec.Key[0], rec.Headers[0].Value[0] = 'X', 'X', 'X'
	if string(d.Value) != "0123456789" || string(d.Key) != "key" || string(d.Headers[0].Value) != "value" || string(l.Key) != "key" {
		t.Errorf("the letter aliases the record: %q %q %q %q", d.Value, d.Key, d.Headers[0].Value, l.Key)
	}
	if string(l.Value) != "a line" || l.Position.Line != 2 || l.Size != 6 {
		t.Errorf("got %+v", l)
	}
}

// deadWorker makes a dead letter of every record.
type deadWorker struct{}

func (deadWorker) Work(b *Batch, _ *Turn) {
	for i := range b.Records.Records {
		b.Dead = append(b.Dead, DeadRecord(DeadUndecodable, "", b.Records.Partition, &b.Records.Records[i], 100))
	}
}

func TestDeadLettersComeOutInTheOrderOfTheirRecords(t *testing.T) {
	var got, want []string
	g, err := NewGraph(Options{
		Workers: 3, Shards: 2, BatchRecords: 2, Poison: true,
		NewWorker: func() Worker { return deadWorker{} },
		NewShard:  func(int) Shard { return &toyShard{make(map[string]int32), 3} },
		Alerter:   toyAlerter{},
		Deliver: func(_ context.Context, out *Outcome) error {
			for _, d := range out.Dead {
				got = append(got, fmt.Sprintf("%d=%s", d.Position.Offset, d.Value))
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { errs <- g.Run(t.Context()) }()
	for i := range int64(100) {
		value := fmt.Appendf(nil, "value %d", i)
		want = append(want, fmt.Sprintf("%d=%s", i, value))
		rb := &RecordBatch{Records: []Record{{Value: value, Offset: i}}, Release: func() { clear(value) }}
		if err := g.Emit(t.Context(), rb); err != nil {
			t.Fatal(err)
		}
	}
	g.Close()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestADeadLetterWaitsForNoOtherPartition: a barrier's positions are behind
// lines that wait to be merged, which are state; dead letters are none.
func TestADeadLetterWaitsForNoOtherPartition(t *testing.T) {
	m := newMerger(MergeOptions{}, Options{BatchRecords: 10, Shards: 1})
	g := &Graph{opts: Options{Shards: 1}}
	a, b := Partition{Topic: "t", ID: 0}, Partition{Topic: "t", ID: 1}
	m.expected = []Partition{a, b}
	m.meet()
	clock := time.Unix(100, 0)
	m.add(&flight{
		Batch: Batch{
			Records: &RecordBatch{Partition: a}, Steps: []ClockStep{{Line: 0, Clock: clock}},
			Dead: []DeadLetter{{Reason: "1"}, {Reason: "2"}},
		},
		ticket: &ticket{clock: clock},
	})
	f := m.next(g)
	if f == nil || len(f.Dead) != 2 || f.Dead[1].Reason != "2" || len(f.through) != 0 || len(f.Steps) != 0 {
		t.Fatalf("got %+v, want the dead letters and nothing else", f)
	}
	if f := m.next(g); f != nil {
		t.Errorf("and then %+v", f)
	}
}

// carryWorker passes on what a source could not read, as a worker of the engine does.
type carryWorker struct{}

func (carryWorker) Work(b *Batch, _ *Turn) { b.Dead = append(b.Dead, b.Records.Dead...) }

// TestWhatASourceCannotReadGoesWithThePositionBehindIt cuts batches with dead
// letters before, among and behind their records, some of them in one graph and the rest in another.
func TestWhatASourceCannotReadGoesWithThePositionBehindIt(t *testing.T) {
	letters := func(offsets ...int64) (out []DeadLetter) {
		for _, o := range offsets {
			out = append(out, DeadLetter{Kind: DeadUnreadable, Position: Position{Offset: o, Line: -1}})
		}
		return out
	}
	var got []string
	var released atomic.Int32 // the batch without anything is released at once, the others by the graph
	g, err := NewGraph(Options{
		Workers: 2, Shards: 1, BatchRecords: 2, Poison: true,
		NewWorker: func() Worker { return carryWorker{} },
		NewShard:  func(int) Shard { return &toyShard{make(map[string]int32), 3} },
		Alerter:   toyAlerter{},
		Deliver: func(_ context.Context, out *Outcome) error {
			text := ""
			for _, d := range out.Dead {
				text += fmt.Sprint(d.Position.Offset, " ")
			}
			got = append(got, fmt.Sprintf("%s< %d", text, out.Through[0].Next))
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { errs <- g.Run(t.Context()) }()
	whole := RecordBatch{
		Records: []Record{{Offset: 10}, {Offset: 11}, {Offset: 12}, {Offset: 14}, {Offset: 15}},
		Dead:    letters(8, 9, 13, 16), Next: 20, Release: func() { released.Add(1) },
	}
	rest := whole
	rest.Rest(0)
	if len(rest.Dead) != 4 {
		t.Errorf("nothing was taken, and %d letters are left", len(rest.Dead))
	}
	rest.Rest(4)
	if len(rest.Dead) != 1 || rest.Dead[0].Position.Offset != 16 || len(rest.Records) != 1 {
		t.Errorf("four records were taken, and left are %+v", rest)
	}
	for _, rb := range []*RecordBatch{&whole, {Dead: letters(20), Next: 30, Release: func() { released.Add(1) }}, {Next: 40, Release: func() { released.Add(1) }}} {
		if err := g.Emit(t.Context(), rb); err != nil {
			t.Fatal(err)
		}
	}
	g.Close()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	if want := []string{"8 9 < 12", "13 < 15", "16 < 20", "20 < 30"}; !slices.Equal(got, want) || released.Load() != 3 {
		t.Errorf("got %q, released %d times\nwant %q", got, released.Load(), want)
	}
}

// TestDeadLettersAloneWaitForNoOtherPartition merges lines: what a source could
// not read comes out although another partition holds up the lines, with nothing
// said of a position that is not known.
func TestDeadLettersAloneWaitForNoOtherPartition(t *testing.T) {
	g, err := NewGraph(Options{Workers: 1, Shards: 1, Merge: &MergeOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	m := g.merger
	a, b := Partition{Topic: "a"}, Partition{Topic: "b"}
	m.lane(a)
	m.lane(b)
	f := g.newFlight()
	f.Records, f.ticket, f.share = &RecordBatch{Partition: a}, &ticket{clock: time.Unix(5, 0)}, &shared{left: 1}
	f.Dead = []DeadLetter{{Reason: "no object"}}
	m.budget(a) <- struct{}{}
	m.add(f)
	if f := m.next(g); f == nil || len(f.Dead) != 1 || len(f.through) != 0 {
		t.Fatalf("next = %+v", f)
	}
	f = g.newFlight()
	f.Records, f.ticket, f.share, f.next = &RecordBatch{Partition: a}, &ticket{clock: time.Unix(5, 0)}, &shared{left: 1}, 7
	f.Dead = []DeadLetter{{Reason: "no object"}}
	m.budget(a) <- struct{}{}
	m.add(f)
	if f := m.next(g); f == nil || len(f.Dead) != 1 || len(f.through) != 1 || f.through[0].Next != 7 {
		t.Fatalf("next = %+v", f)
	}
}

// TestABatchThatIsNotTakenIsReleased fails Emit at the first part of a batch.
func TestABatchThatIsNotTakenIsReleased(t *testing.T) {
	g, err := NewGraph(Options{Workers: 1, Shards: 1, BatchRecords: 2})
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	g.emitTurn <- struct{}{} // somebody else emits
	for _, rb := range []RecordBatch{{Records: make([]Record, 5)}, {Dead: make([]DeadLetter, 1)}, {Next: 7}} {
		released := 0
		rb.Release = func() { released++ }
		if err := g.Emit(gone, &rb); err == nil || released != 1 {
			t.Errorf("%d records: error %v, released %d times", len(rb.Records), err, released)
		}
	}
	g.endTurn()
	g.Refuse()
	rb := RecordBatch{Records: make([]Record, 5), Release: func() { t.Error("released, though the next graph gets it") }}
	if err := g.Emit(t.Context(), &rb); !errors.Is(err, ErrRefused) {
		t.Errorf("error %v", err)
	}
}
