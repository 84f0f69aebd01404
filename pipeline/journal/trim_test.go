package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// removing calls a function behind each removal of a file, before the journal knows that it is done.
type removing struct {
	*memory
	removed func(path string)
}

func (f *removing) Remove(path string) error {
	err := f.memory.Remove(path)
	if f.removed != nil {
		f.removed(path)
	}
	return err
}

func TestAReaderDoesNotGoIntoASegmentThatIsBeingRemoved(t *testing.T) {
	disk := &removing{memory: newMemory()}
	j := start(t, options(t, disk))
	defer j.end()
	large := strings.Repeat("m", 40<<10) // so that the second is a segment of marks alone
	j.mustPut(entry("a", "x"), marks("m", large), marks("m", large+"2"), marks("m", large+"3"), entry("a", "y"))

	r := j.Reader(nil)
	defer r.Close()
	next := func() string {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b, err := r.Next(ctx)
		if err != nil {
			return err.Error()
		}
		defer b.Release()
		return string(b.Records[0].Value)
	}
	want(t, "the first record", next(), "x")
	removals, second := 0, ""
	disk.removed = func(string) {
		if removals++; removals == 2 { // the reader is in the first
			second = next()
		}
	}
	if err := j.Trim(map[Stream]int64{{Topic: "a"}: 1}); err != nil {
		t.Fatal(err)
	}
	if removals < 2 {
		t.Fatalf("%d segments were removed, and the test needs one that the reader has not been in", removals)
	}
	want(t, "the record behind segments that are being removed", second, "y")
}

func TestTrimmingWaitsForWhoNeedsSomethingAndForNobodyElse(t *testing.T) {
	o := options(t, nil)
	j := start(t, o)
	j.mustPut(entry("idle", "first"), marks("cursor", "kept", "old", "1"), marks("old", ""))
	line := strings.Repeat("x", 1000)
	for range 300 {
		j.mustPut(entry("busy", line))
	}
	before := j.Bytes()
	busy, idle := Stream{Topic: "busy"}, Stream{Topic: "idle"}
	trim := func(next map[Stream]int64) {
		if err := j.Trim(next); err != nil {
			t.Fatal(err)
		}
	}
	trim(map[Stream]int64{busy: 301})
	if j.Bytes() != before {
		t.Error("a segment that somebody needs was removed")
	}
	trim(map[Stream]int64{idle: 1})
	if j.Bytes() >= before/2 {
		t.Errorf("%d of %d bytes are left although nobody needs them", j.Bytes(), before)
	}
	j.end()
	j = start(t, o)
	want(t, "marks outlive their segment", fmt.Sprint(j.Marks()), "map[cursor:kept]")
	if b := j.Begins(); b[idle] != 1 || b[busy] < 100 || j.End(idle) != 1 || j.End(busy) != 301 {
		t.Errorf("begins %v, ends %v", b, j.Ends())
	}
	j.end()
}

func TestAFullJournalMakesSendersWait(t *testing.T) {
	for _, size := range []int{1000, 300_000} { // the second is larger than the journal may be
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			o := options(t, nil)
			o.MaxBytes = 2 * o.SegmentBytes
			j := start(t, o)
			line := strings.Repeat("x", size)
			n := int64(0)
			for !j.Full() {
				j.mustPut(entry("a", line))
				n++
			}
			ctx, cancel := context.WithCancel(t.Context())
			e := entry("a", line)
			failed := make(chan error)
			go func() { failed <- j.Append(ctx, &e, func(error) {}) }()
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			put := make(chan error)
			go func() { put <- j.put(entry("a", line)) }()
			if err := j.Trim(map[Stream]int64{{Topic: "a"}: n}); err != nil {
				t.Fatal(err)
			}
			if err := <-put; err != nil {
				t.Fatal(err)
			}
			j.end()
		})
	}
}
