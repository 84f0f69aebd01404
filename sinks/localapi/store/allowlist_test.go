package store

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
	"sluice/sinks/format"
)

// conditions compiles "as N", and an expression that fails.
func conditions(expression string) (func(*pipeline.Alert) (bool, error), error) {
	if expression == "fails" {
		return func(*pipeline.Alert) (bool, error) { return false, errors.New("it failed") }, nil
	}
	number, ok := strings.CutPrefix(expression, "as ")
	if !ok {
		return nil, errors.New("it is no condition")
	}
	return func(a *pipeline.Alert) (bool, error) { return a.Source.AsNumber == number, nil }, nil
}

func (w *world) push(uuid, as string, ds ...decisions.Decision) (int64, int) {
	w.t.Helper()
	n := &NewAlert{UUID: uuid, Machine: "agent", Decisions: ds, Alert: lapi.Alert{Source: lapi.Source{Scope: "Ip", Value: ds[0].Value, AsNumber: &as}}}
	id, allowed, err := w.AddAlert(n)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, allowed
}

func TestExpressionsLookAtAlertsThatComeAndThatAreKept(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Condition = conditions })
	w.push("one", "15169", w.ban("8.8.8.8", time.Hour), w.ban("2001:db8::1", time.Hour))
	w.push("two", "64500", w.ban("192.0.2.1", time.Hour))
	_, err := w.AddListed("bad", func(add func(*decisions.Decision) error) error {
		d := w.ban("192.0.2.2", time.Hour)
		d.Origin = ListOrigin("bad")
		return add(&d)
	})
	if err != nil {
		t.Fatal(err)
	}
	c := AllowlistChange{Add: []Allowed{{Expression: "fails"}, {Expression: "as 15169", Comment: "Google", Until: w.now.Add(time.Hour)}}}
	if _, n, err := w.ChangeAllowlist("crawlers", c); err != nil || n != 2 || len(w.inForce()) != 2 {
		t.Errorf("withdrawn %d, %v; in force are %v", n, err, w.inForce())
	}
	for range 2 {
		w.now = w.now.Add(time.Minute)
		id, allowed := w.push(w.now.String(), "15169", w.ban("8.8.4.4", time.Hour))
		a, err := w.Alert(id)
		if err != nil || allowed != 1 || len(a.Decisions) != 0 {
			t.Fatalf("allowed %d, %+v, %v", allowed, a, err)
		}
		if meta := *a.Alert.Meta; len(meta) != 1 || *meta[0].Key != format.MetaAllowlisted || *meta[0].Value != "as 15169 from crawlers (Google)" {
			t.Errorf("the alert's meta is %v", meta)
		}
		w.reopen()
	}
	if _, allowed := w.push("three", "64500", w.ban("192.0.2.3", time.Hour)); allowed != 0 {
		t.Error("another network is allowed")
	}
	w.now = w.now.Add(time.Hour)
	if _, allowed := w.push("four", "15169", w.ban("8.8.4.4", time.Hour)); allowed != 0 {
		t.Error("it is allowed though the item has ended")
	}
	for _, items := range [][]Allowed{{{Expression: "nonsense"}}, {{}}, {{Value: "192.0.2.1", Expression: "as 1"}}} {
		if _, _, err := w.ChangeAllowlist("x", AllowlistChange{Add: items}); err == nil {
			t.Errorf("%+v is taken", items)
		}
	}
	w.opts = nil // no rules are at hand: the list is kept, and its expressions except nothing
	w.reopen()
	if got := w.Allowlists(); len(got) != 1 || len(got[0].Items) != 2 {
		t.Errorf("the lists are %+v", got)
	}
	if l, _, err := w.ChangeAllowlist("crawlers", AllowlistChange{Add: []Allowed{{Value: "192.0.2.1"}}}); err != nil || len(l.Items) != 3 {
		t.Errorf("what has nothing to do with them is not added: %+v, %v", l, err)
	}
}

func TestListsOfTheConfigurationHoldBesideTheStoresOwn(t *testing.T) {
	var set *allowlist.Set
	w := newWorld(t, func(o *Options) { o.Allowlists = func() *allowlist.Set { return set } })
	w.push("one", "", w.ban("192.0.2.1", time.Hour), w.ban("198.51.100.1", time.Hour))
	var err error
	if set, err = allowlist.New([]allowlist.List{{Name: "office", Items: []allowlist.Item{{Value: "198.51.100.0/24"}}}}); err != nil {
		t.Fatal(err)
	}
	if n, err := w.WithdrawAllowed(); n != 1 || err != nil {
		t.Errorf("withdrawn %d, %v", n, err)
	}
	id, allowed := w.push("two", "", w.ban("192.0.2.2", time.Hour), w.ban("198.51.0.0/16", time.Hour))
	if a, err := w.Alert(id); err != nil || allowed != 1 || *(*a.Alert.Meta)[0].Value != "198.51.100.0/24 from office, and so on: 1 of 2 decisions" {
		t.Errorf("allowed %d, %+v, %v", allowed, a, err)
	}
	if _, allowed := w.push("three", "", w.ban("198.51.100.9", time.Hour), w.ban("203.0.113.1", time.Hour)); allowed != 2 {
		t.Errorf("of an allowed source %d decisions are left out", allowed)
	}
}

func TestAnAllowlistIsChangedAsItIs(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Condition = conditions })
	add := func(values ...string) (out []Allowed) {
		for _, v := range values {
			out = append(out, Allowed{Value: v})
		}
		return out
	}
	as := func(n, comment string) Allowed { return Allowed{Expression: "as " + n, Comment: comment} }
	for _, c := range []struct {
		name   string
		list   string
		change AllowlistChange
		want   string // its items in order, or what is wrong
	}{
		{"one that is not there is made", "office", AllowlistChange{Description: "ours", Add: add("192.0.2.1", "192.0.2.77/24")}, "ours: 192.0.2.1, 192.0.2.0/24"},
		{"what is added comes behind", "office", AllowlistChange{Add: append(add("2001:db8::1"), as("1", "old"))}, "ours: 192.0.2.1, 192.0.2.0/24, 2001:db8::1, as 1 old"},
		{"what is on it already takes its place", "office", AllowlistChange{Add: append(add("::ffff:192.0.2.1"), as("1", "new"))}, "ours: 192.0.2.0/24, 2001:db8::1, 192.0.2.1, as 1 new"},
		{"of two for the same the later counts", "office", AllowlistChange{Add: []Allowed{as("1", "newer"), as("2", ""), as("1", "newest")}}, "ours: 192.0.2.0/24, 2001:db8::1, 192.0.2.1, as 1 newest, as 2"},
		{"however it is written", "office", AllowlistChange{Remove: []string{"2001:db8:0::1", "192.0.2.9/24", "as 2", "as 1"}}, "ours: 192.0.2.1"},
		{"another description", "office", AllowlistChange{Description: "theirs"}, "theirs: 192.0.2.1"},
		{"one thing instead of another", "office", AllowlistChange{Remove: []string{"192.0.2.1"}, Add: add("192.0.2.2")}, "theirs: 192.0.2.2"},
		{"of what is not on it nothing is done", "office", AllowlistChange{Remove: []string{"192.0.2.2", "192.0.2.1"}}, `"192.0.2.1" is not on the allow-list "office"`},
		{"nor of what is no address", "office", AllowlistChange{Remove: []string{"192.0.2.2"}, Add: add("nowhere")}, `"nowhere" is no address such as 192.0.2.1 or 2001:db8::1`},
		{"from no list is nothing taken", "home", AllowlistChange{Remove: []string{"192.0.2.2"}}, "allow-list \"home\": there is none of that name; `sluice allowlist list` shows those that people keep"},
		{"it is as it was", "office", AllowlistChange{}, "theirs: 192.0.2.2"},
	} {
		l, _, err := w.ChangeAllowlist(c.list, c.change)
		var items []string
		for i := range l.Items {
			items = append(items, strings.TrimSpace(l.Items[i].Text()+" "+l.Items[i].Comment))
			if l.Items[i].Created.IsZero() || l.ID == "" {
				t.Errorf("%s: nobody can tell since when: %+v", c.name, l)
			}
		}
		got := l.Description + ": " + strings.Join(items, ", ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if kept, ok := w.Allowlist(c.list); err == nil && (!ok || !reflect.DeepEqual(kept, l)) {
			t.Errorf("%s: kept is %+v, want %+v", c.name, kept, l)
		}
	}
}

// TestAllChangesOfAnAllowlistAtOnceAreKept has many change a list, while others read it.
func TestAllChangesOfAnAllowlistAtOnceAreKept(t *testing.T) {
	w := newWorld(t, nil)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			if _, _, err := w.ChangeAllowlist("office", AllowlistChange{Add: []Allowed{{Value: fmt.Sprintf("192.0.2.%d", i)}}}); err != nil {
				t.Error(err)
			}
			for _, l := range w.Allowlists() {
				_ = fmt.Sprint(l)
			}
		})
	}
	all.Wait()
	before, _ := w.Allowlist("office")
	w.reopen()
	if after, _ := w.Allowlist("office"); !reflect.DeepEqual(after, before) || len(after.Items) != 12 {
		t.Errorf("after a restart the list is %+v, before it %+v", after, before)
	}
}

// TestWhatIsBeingDecidedWhileTheListsChangeIsWithdrawn has the configuration's lists change
// when a decision was held to them and is being written: it is not there to be withdrawn yet.
func TestWhatIsBeingDecidedWhileTheListsChangeIsWithdrawn(t *testing.T) {
	var lists atomic.Pointer[allowlist.Set]
	w := newWorld(t, func(o *Options) { o.Allowlists = lists.Load })
	withdrawn := make(chan int, 1)
	w.update = func(change func(*badger.Txn) error) error {
		w.update = w.db.Update
		set, err := allowlist.New([]allowlist.List{{Name: "own", Items: []allowlist.Item{{Value: "192.0.2.0/24"}}}})
		if err != nil {
			return err
		}
		lists.Store(set)
		go func() {
			n, err := w.WithdrawAllowed()
			if err != nil {
				t.Error(err)
			}
			withdrawn <- n
		}()
		for range 100_000 { // where it does not wait, it is over by then
			if runtime.Gosched(); len(withdrawn) > 0 {
				break
			}
		}
		return w.db.Update(change)
	}
	w.push("one", "64500", w.ban("192.0.2.1", time.Hour))
	if n := <-withdrawn; n != 1 || len(w.inForce()) > 0 {
		t.Errorf("%d are withdrawn, and in force are %v", n, w.inForce())
	}
}
