package rig

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Feed is an instance that makes an alert with a decision of every line that
// a test writes, for tests of sinks. The alert's source has the line's number
// as its value.
type Feed struct {
	*Instance
	// Lines is how many were written.
	Lines int

	log string
}

// NewFeed makes a feed for the sinks of these configurations. Nothing runs yet.
func NewFeed(t testing.TB, name string, sinks ...any) *Feed {
	t.Helper()
	f := &Feed{log: filepath.Join(t.TempDir(), "log")}
	f.Write(t, 0)
	c := Probing(map[string]any{"type": "file", "paths": []string{f.log}, "follow": true, "start": "beginning", "poll_interval": "50ms"})
	c["profiles"] = []any{map[string]any{
		"name": "probe", "filters": []string{"true"}, "on_success": "break", "decisions": []any{map[string]any{"type": "ban", "scope": "probe", "duration": "4h"}},
	}}
	c["sinks"] = sinks
	f.Instance = New(t, name, c)
	return f
}

// Write writes the next lines.
func (f *Feed) Write(t testing.TB, n int) {
	t.Helper()
	file, err := os.OpenFile(f.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for range n {
		text.WriteString(Line(f.Lines) + "\n")
		f.Lines++
	}
	_, err = file.WriteString(text.String())
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// KillTimes writes lines, starts the instance, and kills it a moment after the first alert has
// come, again and again; then it starts it for good. arrived tells how many
// alerts have come so far, each counted once; it is asked often. KillTimes returns how often the
// kill came while some of the lines had their alert, and not all.
func (f *Feed) KillTimes(t *testing.T, kills, lines int, arrived func() int) (during int) {
	t.Helper()
	chance := rand.New(rand.NewPCG(Seed(t), 4))
	for range kills {
		before := arrived()
		f.Write(t, lines)
		f.Start(t)
		f.awaitMore(t, before, arrived)
		if err := Pause(t.Context(), time.Duration(chance.Int64N(int64(100*time.Millisecond)))); err != nil {
			t.Fatal(err)
		}
		f.Kill(t)
		if arrived() < f.Lines {
			during++
		}
	}
	f.Start(t)
	return during
}

// awaitMore waits until more alerts have come than before. Poll would be too slow to be in time.
func (f *Feed) awaitMore(t *testing.T, before int, arrived func() int) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); arrived() <= before; {
		if err := errors.Join(f.Ended(), Pause(t.Context(), 2*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("no alert comes")
		}
	}
}
