package store

import (
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestNobodySignsInUnderALockThatAWriteHolds looks at the locks that those who
// sign in are looked up under, while each change of them is on its way to the disk.
func TestNobodySignsInUnderALockThatAWriteHolds(t *testing.T) {
	w := newWorld(t, nil)
	writes, doing := 0, ""
	w.update = func(change func(*badger.Txn) error) error {
		writes++
		for who, mu := range map[string]*sync.RWMutex{"bouncers": &w.bouncers.mu, "machines": &w.machines.mu} {
			if mu.TryRLock() {
				mu.RUnlock()
			} else {
				t.Errorf("%s: the lock of %s is held", doing, who)
			}
		}
		return w.db.Update(change)
	}
	told := func(seen int64) func() error {
		return func() error { return w.Pulled("fw", func(b *Bouncer) { b.Seen = seen }) }
	}
	for _, c := range []struct {
		name   string
		change func() error
		writes int
	}{
		{"a bouncer is added", func() error { _, err := w.AddBouncer("fw", ""); return err }, 1},
		{"it is told of the first changes, which it may not get", told(5), 0},
		{"it asks again, and so has got them", told(7), 1},
		{"it gets another key", func() error { _, err := w.RotateBouncer("fw"); return err }, 1},
		{"one comes with a certificate", func() error { _, err := w.BouncerNamed("proxy"); return err }, 1},
		{"it reports", func() error { return w.PutBouncerReport("fw", Reported{At: w.now}, nil) }, 1},
		{"what was told last is written at the end", w.settleBouncers, 1},
		{"it is deleted", func() error { return w.DeleteBouncer("fw") }, 1},
		{"a machine is added", func() error { return w.AddMachine("agent", "hunter2", true) }, 1},
		{"it says that it lives", func() error { return w.ChangeMachine("agent", func(m *Machine) { m.LastBeat = w.now }) }, 1},
		{"it reports, too", func() error { return w.PutMachineReport("agent", Reported{At: w.now}, nil) }, 1},
		{"it is deleted, too", func() error { return w.DeleteMachine("agent") }, 1},
	} {
		writes, doing = 0, c.name
		if err := c.change(); err != nil || writes != c.writes {
			t.Errorf("%s: %d writes, want %d; %v", c.name, writes, c.writes, err)
		}
	}
}

// TestOnlySoManyMachinesWait has more machines register than may wait, in turns and at once.
func TestOnlySoManyMachinesWait(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxWaiting = 2 })
	valid := func(m *Machine) { m.Valid = true }
	add := func(name string, valid bool) error { return w.AddMachine(name, "secret", valid) }
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"one waits", func() error { return add("a", false) }, nil},
		{"a valid one does not count", func() error { return add("v", true) }, nil},
		{"a second waits", func() error { return add("b", false) }, nil},
		{"a third may not", func() error { return add("c", false) }, ErrManyWait},
		{"nor after a restart", func() error { w.reopen(); return add("c", false) }, ErrManyWait},
		{"a name that is taken is said to be", func() error { return add("a", false) }, ErrExists},
		{"who adds one that is valid is not kept from it", func() error { return add("w", true) }, nil},
		{"one is validated", func() error { return w.ChangeMachine("a", valid) }, nil},
		{"and so makes room", func() error { return add("c", false) }, nil},
		{"for one", func() error { return add("d", false) }, ErrManyWait},
		{"another is deleted", func() error { return w.DeleteMachine("b") }, nil},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	var all sync.WaitGroup
	var refused atomic.Int32
	for _, name := range []string{"d", "e", "f"} { // where there is room for one
		all.Go(func() {
			if err := add(name, false); errors.Is(err, ErrManyWait) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := refused.Load(); got != 2 || len(w.Machines()) != 5 {
		t.Errorf("%d were refused of three that came at once, want 2; there are %d machines", got, len(w.Machines()))
	}
}

// TestWhatChangesAtOnceIsOnTheDiskAsInMemory has bouncers pull, from several
// places each, while keys are made and revoked. What was told last is written
// last, and nothing is written of a bouncer behind its deletion.
func TestWhatChangesAtOnceIsOnTheDiskAsInMemory(t *testing.T) {
	w := newWorld(t, nil)
	names := []string{"one", "two", "gone"}
	for _, name := range names {
		if _, err := w.AddBouncer(name, ""); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	do := func(change func() error) {
		all.Go(func() {
			if err := change(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 8 {
		for _, name := range names {
			do(func() error { return w.Pulled(name, func(b *Bouncer) { b.Seen++ }) })
		}
		do(func() error { _, err := w.RotateBouncer("one"); return err })
	}
	do(func() error { return w.DeleteBouncer("gone") })
	all.Wait()
	if err := w.settleBouncers(); err != nil {
		t.Fatal(err)
	}
	before := w.Bouncers()
	w.reopen()
	after := w.Bouncers()
	for i := range after {
		after[i].Doubt = false // it comes of a restart
	}
	if !reflect.DeepEqual(after, before) || len(after) != 2 || after[0].Seen != 8 {
		t.Errorf("after a restart there are %+v, before it %+v", after, before)
	}
}
