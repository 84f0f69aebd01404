//go:build integration

package decisions

import (
	"net/http"
	"os/exec"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// TestAnImportThatIsKilledIsMadeGoodByTheNext kills sluice at several moments
// of an import. What was in force before the kill is after it, and once the
// list is imported again each of its addresses is in force once.
func TestAnImportThatIsKilledIsMadeGoodByTheNext(t *testing.T) {
	const n = 100_000
	s := serve(t)
	s.start(t)
	key := s.bouncer(t, "wall")
	for _, after := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		cmd := exec.CommandContext(t.Context(), s.binary, "decisions", "import", "-c", s.ConfigFile(), "-")
		cmd.Stdin = list(0, n)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := rig.Pause(t.Context(), after); err != nil {
			t.Fatal(err)
		}
		before := s.stream(t, key, true, false)
		s.Kill(t)
		cut := cmd.Wait() != nil
		s.start(t)
		if y := s.stream(t, key, true, false); y.added < before.added || !cut && y.added != n {
			t.Errorf("killed after %v, a bouncer is told %+v, and was told %+v before", after, y, before)
		} else {
			t.Logf("killed after %v, %d were in force", after, y.added)
		}
	}
	s.sluice(t, list(0, n), "decisions", "import", "-", "-d", "48h")
	if y := s.stream(t, key, true, false); y.added != n {
		t.Errorf("once the list is imported again a bouncer is told %+v", y)
	}
	s.sluice(t, nil, "decisions", "delete", "--all")
	if y := s.stream(t, key, false, false); y != (told{removed: n}) {
		t.Errorf("of their end a bouncer is told %+v: some were in force twice", y)
	}
}

// TestDecisionsEndAtTheirSecond ends many at once: none of them a second late
// or early, each told to a bouncer once, and none of them back after a kill.
func TestDecisionsEndAtTheirSecond(t *testing.T) {
	const n, some = 20_000, 10_000
	s := serve(t)
	s.start(t)
	key := s.bouncer(t, "wall")
	s.add(t, list(0, n))
	life, begin, done := 5*time.Second, time.Time{}, time.Time{}
	for ; ; life *= 2 { // a busy machine may take longer than they last to import them and to tell of them
		begin = time.Now()
		s.add(t, inTens(some), "-d", life.String())
		done = time.Now()
		y := s.stream(t, key, true, false)
		if time.Now().After(begin.Add(life)) {
			continue
		}
		if y != (told{added: n + some}) {
			t.Fatalf("a bouncer is told %+v", y)
		}
		break
	}
	var asked time.Time // when the last question was asked that found one in force
	for at := time.Now(); s.verdict(t, address10(0)) != http.StatusOK; at = time.Now() {
		asked = at
		if err := rig.Pause(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	// The end is rounded up to a second, and counts from when the import began.
	if ended := time.Now(); ended.Before(begin.Add(life)) || asked.After(done.Add(life+time.Second)) {
		t.Errorf("imported between %v and %v for %v, it was in force at %v and had ended at %v", begin, done, life, asked, ended)
	}
	if status := s.verdict(t, address10(some-1)); status != http.StatusOK {
		t.Errorf("the last of them is answered %d", status)
	}
	if y := s.stream(t, key, true, false); y.added != n {
		t.Errorf("a bouncer that begins is told %+v", y)
	}
	s.Kill(t)
	s.start(t)
	if y := s.stream(t, key, true, false); y.added != n {
		t.Errorf("after a kill a bouncer that begins is told %+v", y)
	}
	if status := s.verdict(t, address(1)); status == http.StatusOK {
		t.Error("after a kill an address that is decided on passes")
	}
}
