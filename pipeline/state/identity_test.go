package state

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestAStateKeepsItsName(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	names := make(map[string]string)
	for _, dir := range []string{a, b, a} {
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if old := names[dir]; old != "" && old != s.ID() {
			t.Errorf("the state was called %s and is now %s", old, s.ID())
		}
		names[dir] = s.ID()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if names[a] == names[b] || len(names[a]) != identityLength {
		t.Errorf("two states are called %q and %q", names[a], names[b])
	}
}

// TestAdviceOfBadgerIsNoWarning: it comes every minute and asks for nothing to be done.
func TestAdviceOfBadgerIsNoWarning(t *testing.T) {
	var out bytes.Buffer
	l := badgerLog{slog.New(slog.NewTextHandler(&out, nil))}
	l.Warningf("%s might be too small. Metrics: %s\n", "Block cache", "hits")
	if out.Len() > 0 {
		t.Errorf("logged %q", out.String())
	}
	l.Warningf("While forcing compaction on level 0: %v", "no space")
	if !strings.Contains(out.String(), "level=WARN msg=\"While forcing compaction on level 0: no space\"") {
		t.Errorf("logged %q", out.String())
	}
}
