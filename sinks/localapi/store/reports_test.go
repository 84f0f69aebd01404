package store

import (
	"errors"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// reporter is what a bouncer and a machine have alike as to their reports.
type reporter struct {
	key    []byte
	add    func() error
	put    func(Reported, string) error
	get    func() (Reported, string, error)
	listed func() Reported
	remove func() error
}

func reporters(w *world) map[string]reporter {
	return map[string]reporter{
		"bouncer": {
			key: reportOf(reporterBouncer, "one"),
			add: func() error { _, err := w.AddBouncer("one", ""); return err },
			put: func(r Reported, text string) error { return w.PutBouncerReport("one", r, []byte(text)) },
			get: func() (Reported, string, error) {
				b, text, err := w.BouncerReport("one")
				return b.Reported, string(text), err
			},
			listed: func() Reported { return w.Bouncers()[0].Reported },
			remove: func() error { return w.DeleteBouncer("one") },
		},
		"machine": {
			key: reportOf(reporterMachine, "one"),
			add: func() error { return w.AddMachine("one", "secret", true) },
			put: func(r Reported, text string) error { return w.PutMachineReport("one", r, []byte(text)) },
			get: func() (Reported, string, error) {
				m, text, err := w.MachineReport("one")
				return m.Reported, string(text), err
			},
			listed: func() Reported { return w.Machines()[0].Reported },
			remove: func() error { return w.DeleteMachine("one") },
		},
	}
}

// TestTheLastReportIsKept of each, through a restart, until its sender is
// deleted: of who takes the name later it says nothing.
func TestTheLastReportIsKept(t *testing.T) {
	w := newWorld(t, nil)
	for name, r := range reporters(w) {
		want := func(when string, told Reported, text string) {
			t.Helper()
			if got, kept, err := r.get(); err != nil || got != told || kept != text || r.listed() != told {
				t.Errorf("%s, %s: %+v with %q, %v; listed is %+v", name, when, got, kept, err, r.listed())
			}
		}
		told := Reported{Type: "wall", Version: "2", OS: "debian 12", At: w.Now().UTC()}
		if err := r.put(told, "{}"); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: nobody reports: %v", name, err)
		}
		if _, _, err := r.get(); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: nobody has a report: %v", name, err)
		}
		err := w.db.Update(func(txn *badger.Txn) error { return txn.Set(r.key, []byte("of an older version")) })
		if err := errors.Join(err, r.add()); err != nil {
			t.Fatal(err)
		}
		want("before the first", Reported{}, "")
		if err := errors.Join(r.put(Reported{At: w.Now().UTC()}, "first"), r.put(told, "second")); err != nil {
			t.Fatal(err)
		}
		want("after two", told, "second")
		if err := r.put(Reported{}, string(make([]byte, MaxReport+1))); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: a report of any length: %v", name, err)
		}
		w.reopen()
		want("after a restart", told, "second")
		if err := r.remove(); err != nil {
			t.Fatal(err)
		}
		if text, err := w.report(told, r.key); !errors.Is(err, badger.ErrKeyNotFound) {
			t.Errorf("%s: of who is deleted is kept %q, %v", name, text, err)
		}
		if err := r.add(); err != nil {
			t.Fatal(err)
		}
		want("to who takes the name", Reported{}, "")
	}
}
