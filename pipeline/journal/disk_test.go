package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestADiskThatIsFullIsWaitedFor(t *testing.T) {
	for _, op := range []string{"write", "create"} {
		t.Run(op, func(t *testing.T) {
			fs := newMemory()
			left := 3
			var told []string
			o := options(t, fs)
			o.Trouble = func(err error) { told = append(told, fmt.Sprint(err != nil)) }
			o.After = func(time.Duration) <-chan time.Time {
				c := make(chan time.Time, 1)
				c <- time.Time{}
				return c
			}
			fs.fail = func(is, _ string) error {
				if is == op && left > 0 {
					left--
					return unix.ENOSPC
				}
				return nil
			}
			j := start(t, o)
			j.mustPut(entry("a", "1"), entry("a", "2"))
			want(t, "told", strings.Join(told, " "), "true true true false")
			want(t, "read", j.all(t, nil), "a@0:1 a@1:2")
			j.end()
			fs.fail = nil
			j = start(t, o)
			want(t, "read again", j.all(t, nil), "a@0:1 a@1:2")
			j.end()
		})
	}
}

func TestHalfAWriteIsNeverLeftInTheMiddle(t *testing.T) {
	fs := newMemory()
	o := options(t, fs)
	o.SegmentBytes = 100 // less than any group
	left := 0
	o.After = func(time.Duration) <-chan time.Time {
		c := make(chan time.Time, 1)
		c <- time.Time{}
		return c
	}
	fs.fail = func(op, _ string) error {
		if op == "write" && left > 0 {
			if left--; left%2 == 0 { // the head can be written, the group cannot
				return unix.ENOSPC
			}
		}
		return nil
	}
	j := start(t, o)
	for i := range 3 {
		fs.mu.Lock()
		left = 6
		fs.mu.Unlock()
		j.mustPut(entry("a", fmt.Sprint(i, strings.Repeat("x", 200))))
	}
	wreck := fs.copy()
	j.end()
	o.FS = wreck
	j = start(t, o)
	if n := len(strings.Fields(j.all(t, nil))); n != 3 {
		t.Errorf("%d records", n)
	}
	j.end()
}

func TestARoomThatOthersNeedIsLeftToThem(t *testing.T) {
	fs := newMemory()
	o := options(t, fs)
	o.Reserve = func() int64 { return 1000 }
	var told []string
	o.Trouble = func(err error) { told = append(told, fmt.Sprint(errors.Is(err, unix.ENOSPC))) }
	o.After = func(time.Duration) <-chan time.Time {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.free += 600
		c := make(chan time.Time, 1)
		c <- time.Time{}
		return c
	}
	j := start(t, o)
	j.mustPut(entry("a", "1"))
	want(t, "told", strings.Join(told, " "), "true true false")
	j.end()
}

func TestADiskThatFailsStopsTheJournalAndAcknowledgesNothing(t *testing.T) {
	for _, c := range []struct {
		op    string
		fault error
	}{{"write", unix.EIO}, {"sync", unix.EIO}, {"sync", unix.ENOSPC}, {"syncdir", unix.EIO}, {"create", unix.EACCES}} {
		t.Run(fmt.Sprint(c.op, c.fault), func(t *testing.T) {
			fs := newMemory()
			o := options(t, fs)
			j := start(t, o)
			fs.mu.Lock()
			fs.fail = func(op, _ string) error {
				if op == c.op {
					return c.fault
				}
				return nil
			}
			fs.mu.Unlock()
			if err := j.put(entry("a", "1")); !errors.Is(err, c.fault) {
				t.Errorf("acknowledged with %v", err)
			}
			if err := j.put(entry("a", "2")); !errors.Is(err, c.fault) {
				t.Errorf("the next with %v", err)
			}
			if err := j.fall(); !errors.Is(err, c.fault) {
				t.Errorf("the run ended with %v", err)
			}
		})
	}
}

func TestAFullDiskDoesNotHoldUpTheEnd(t *testing.T) {
	fs := newMemory()
	o := options(t, fs)
	tried := make(chan bool, 1)
	o.After = func(time.Duration) <-chan time.Time { tried <- true; return nil }
	fs.fail = func(op, _ string) error {
		if op == "write" {
			return unix.ENOSPC
		}
		return nil
	}
	j := start(t, o)
	acked := make(chan error, 1)
	e := entry("a", "1")
	if err := j.Append(t.Context(), &e, func(err error) { acked <- err }); err != nil {
		t.Fatal(err)
	}
	<-tried
	if !j.Full() {
		t.Error("a journal that cannot be written is not full")
	}
	if err := j.fall(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the run ended with %v", err)
	}
	if err := <-acked; !errors.Is(err, unix.ENOSPC) {
		t.Errorf("acknowledged with %v", err)
	}
}
