package state

import "testing"

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
