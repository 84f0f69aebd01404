package journal

import (
	"context"
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
