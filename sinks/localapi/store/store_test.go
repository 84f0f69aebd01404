package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a store whose clock a test moves, and which can be opened again.
type world struct {
	*Store
	t    *testing.T
	dir  string
	now  time.Time
	opts func(*Options)
}

func newWorld(t *testing.T, opts func(*Options)) *world {
	w := &world{t: t, dir: t.TempDir(), now: begin, opts: opts}
	w.open()
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	o := Options{Dir: w.dir, Now: func() time.Time { return w.now }, Remember: time.Hour, PasswordCost: bcrypt.MinCost}
	if w.opts != nil {
		w.opts(&o)
	}
	var err error
	if w.Store, err = Open(o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reopen() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

func (w *world) add(id string, ds ...decisions.Decision) int64 {
	w.t.Helper()
	n, _, err := w.AddAlert(&NewAlert{UUID: id, Machine: "agent", Alert: lapi.Alert{Scenario: "a/b"}, Decisions: ds})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) ban(value string, d time.Duration) decisions.Decision {
	scope := "Ip"
	if strings.Contains(value, "/") {
		scope = "Range"
	}
	return decisions.Decision{Scope: scope, Value: value, Type: "ban", Origin: "crowdsec", Scenario: "a/b", Until: w.now.Add(d)}
}

// inForce lists the values that something holds for, sorted.
func (w *world) inForce() []string {
	var out []string
	w.Index().Select(&decisions.Filter{}, w.now, func(d *decisions.Decision) bool {
		out = append(out, fmt.Sprint(d.ID, " ", d.Value))
		return true
	})
	slices.Sort(out)
	return out
}

// TestARestartChangesNothing does what may be done at random, and opens the
// store again at random: the same is in force, and bouncers are told the same.
func TestARestartChangesNothing(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 9))
		w := newWorld(t, nil)
		for i := range 120 {
			switch rng.IntN(8) {
			case 0, 1, 2, 3:
				var ds []decisions.Decision
				for range rng.IntN(4) {
					ds = append(ds, w.ban(fmt.Sprintf("192.0.2.%d", rng.IntN(20)), time.Duration(rng.IntN(60))*time.Second))
				}
				w.add(fmt.Sprint(seed, "-", i), ds...)
			case 4:
				p, _ := decisions.ParsePrefix(fmt.Sprintf("192.0.2.%d/%d", rng.IntN(20), 24+rng.IntN(9)))
				if _, err := w.Delete(&decisions.Filter{Prefix: p, Within: true}); err != nil {
					t.Fatal(err)
				}
			case 5:
				w.now = w.now.Add(time.Duration(rng.IntN(20)) * time.Second)
				if _, err := w.Expire(); err != nil {
					t.Fatal(err)
				}
			case 6:
				if err := w.Forget(w.Index().Seq() - int64(rng.IntN(30))); err != nil {
					t.Fatal(err)
				}
			default:
				before, seq := w.inForce(), w.Index().Seq()
				since := seq - rng.Int64N(min(seq+1, 20))
				told := func() string {
					added, removed, last, known := w.Index().Delta(since, &decisions.Filter{}, w.now, true)
					return fmt.Sprint(added, removed, last, known)
				}
				tale := told()
				w.reopen()
				if got := w.inForce(); !slices.Equal(got, before) || w.Index().Seq() < seq {
					t.Fatalf("seed %d: after a restart %v up to %d, want %v up to %d", seed, got, w.Index().Seq(), before, seq)
				}
				if got := told(); got != tale && !strings.HasSuffix(tale, "false") {
					t.Fatalf("seed %d: a bouncer at %d is told\n%s\nafter a restart\n%s", seed, since, tale, got)
				}
			}
		}
	}
}

func TestAnAlertIsKeptOnce(t *testing.T) {
	w := newWorld(t, nil)
	first := w.add("one", w.ban("192.0.2.1", time.Hour))
	if again := w.add("one", w.ban("192.0.2.1", time.Hour)); again != first || w.Index().Len() != 1 {
		t.Errorf("again it is %d, and %d decisions", again, w.Index().Len())
	}
	w.reopen()
	if again := w.add("one", w.ban("192.0.2.1", time.Hour)); again != first || w.Index().Len() != 1 {
		t.Errorf("after a restart it is %d, and %d decisions", again, w.Index().Len())
	}
	a, err := w.Alert(first)
	if err != nil || a.Machine != "agent" || len(a.Decisions) != 1 || !w.InForce(w.now).Has(a) || a.Decisions[0].Value != "192.0.2.1" {
		t.Errorf("the alert is %+v, %v", a, err)
	}
	if n, err := w.DeleteAlerts([]int64{first, 99}); n != 1 || err != nil || w.Index().Len() != 0 {
		t.Errorf("deleted %d, %v; %d decisions", n, err, w.Index().Len())
	}
}

func TestAlertsComeTheNewestFirstAndTheOldestGo(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxAlerts = 20 })
	w.add("kept", w.ban("192.0.2.1", time.Hour))
	for i := range 60 {
		w.add(fmt.Sprint(i))
	}
	var ids []int64
	if err := w.Alerts(func(a *Alert) bool { ids = append(ids, a.ID); return true }); err != nil {
		t.Fatal(err)
	}
	if len(ids) < 20 || len(ids) > 23 || ids[0] != 61 || ids[len(ids)-1] != 1 || !slices.IsSortedFunc(ids, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("kept are %v; the one with a decision in force must be among them", ids)
	}
}

func TestWhatIsAllowedIsNotDecided(t *testing.T) {
	w := newWorld(t, nil)
	w.add("before", w.ban("192.0.2.1", time.Hour), w.ban("192.0.2.0/30", time.Hour), w.ban("192.0.2.0/16", time.Hour), w.ban("198.51.100.1", time.Hour))
	_, n, err := w.ChangeAllowlist("office", AllowlistChange{Add: []Allowed{{Value: "192.0.2.7/24", Comment: "us"}, {Value: "2001:db8::/32", Until: w.now.Add(time.Minute)}}})
	if err != nil || n != 3 {
		t.Errorf("withdrawn %d, %v", n, err)
	}
	if got := w.inForce(); len(got) != 1 || !strings.Contains(got[0], "198.51.100.1") {
		t.Errorf("in force are %v", got)
	}
	_, allowed, err := w.AddAlert(&NewAlert{UUID: "after", Decisions: []decisions.Decision{w.ban("192.0.2.200", time.Hour), w.ban("2001:db8::1", time.Hour), w.ban("198.51.100.2", time.Hour)}})
	if err != nil || allowed != 2 {
		t.Errorf("allowed %d, %v", allowed, err)
	}
	w.now = w.now.Add(time.Minute)
	w.reopen()
	if _, allowed, err = w.AddAlert(&NewAlert{UUID: "later", Decisions: []decisions.Decision{w.ban("2001:db8::1", time.Hour)}}); err != nil || allowed != 0 {
		t.Errorf("once the item has ended %d are allowed, %v", allowed, err)
	}
	if err := w.DeleteAllowlist("office"); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteAllowlist("office"); !errors.Is(err, ErrUnknown) {
		t.Errorf("error = %v", err)
	}
	if _, _, err := w.ChangeAllowlist("x", AllowlistChange{Add: []Allowed{{Value: "nowhere"}}}); err == nil {
		t.Error("an allow-list takes what is no address")
	}
}

func TestKeysAreKnownByTheirHashes(t *testing.T) {
	w := newWorld(t, nil)
	key, err := w.AddBouncer("fw", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddBouncer("fw", ""); !errors.Is(err, ErrExists) {
		t.Errorf("error = %v", err)
	}
	if _, err := w.AddBouncer("other", key); !errors.Is(err, ErrExists) {
		t.Errorf("a key of two: %v", err)
	}
	for _, told := range []int64{5, 7} { // when it asks again, it has got what it was told before
		if err := w.Pulled("fw", func(b *Bouncer) { b.Seen = told }); err != nil {
			t.Fatal(err)
		}
	}
	if b := w.Bouncers()[0]; b.Seen != 7 || b.Sure != 5 {
		t.Errorf("after two answers the bouncer is %+v", b)
	}
	w.reopen()
	if b, ok := w.BouncerOf(key); !ok || b.Name != "fw" || b.Seen != 7 || strings.Contains(b.KeyHash, key) {
		t.Errorf("the bouncer is %+v, %v", b, ok)
	}
	fresh, err := w.RotateBouncer("fw")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := w.BouncerOf(key); ok {
		t.Error("the old key still serves")
	}
	if _, ok := w.BouncerOf(fresh); !ok {
		t.Error("the new key does not serve")
	}
	if err := w.DeleteBouncer("fw"); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.BouncerOf(fresh); ok || len(w.Bouncers()) != 0 {
		t.Error("a deleted bouncer's key still serves")
	}
	if _, ok := w.BouncerOf(""); ok {
		t.Error("no key serves")
	}
}

func TestPasswordsAreKnownByTheirHashes(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.PasswordCost = 0 })
	if err := w.AddMachine("agent", "hunter2", false); err != nil {
		t.Fatal(err)
	}
	secret, err := w.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	w.reopen()
	for _, c := range []struct {
		name, password string
		want           bool
	}{{"agent", "hunter2", true}, {"agent", "hunter3", false}, {"nobody", "hunter2", false}, {"agent", "", false}} {
		if got := w.CheckPassword(c.name, c.password); got != c.want {
			t.Errorf("%s with %q: %v", c.name, c.password, got)
		}
	}
	if m, ok := w.Machine("agent"); !ok || m.Valid || strings.Contains(m.PasswordHash, "hunter2") {
		t.Errorf("the machine is %+v", m)
	} else if cost, err := bcrypt.Cost([]byte(m.PasswordHash)); err != nil || cost < 10 {
		t.Errorf("its password is hashed at the cost of %d, %v", cost, err)
	}
	if err := w.ChangeMachine("agent", func(m *Machine) { m.Valid = true }); err != nil {
		t.Fatal(err)
	}
	if m, _ := w.Machine("agent"); !m.Valid {
		t.Error("it is not valid")
	}
	if again, err := w.SigningKey(); err != nil || string(again) != string(secret) || len(secret) != 32 {
		t.Errorf("the signing key is another after a restart, %v", err)
	}
	if err := w.DeleteMachine("agent"); err != nil {
		t.Fatal(err)
	}
	if w.CheckPassword("agent", "hunter2") {
		t.Error("a deleted machine's password still serves")
	}
}

// FuzzReadBlock holds a block to what comes of writing it again.
func FuzzReadBlock(f *testing.F) {
	var w blockWriter
	w.fill([]decisions.Decision{
		{ID: 7, Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: "192.0.2.1", Scenario: "a/b", Until: begin, Alert: 3},
		{ID: 8, Origin: "crowdsec", Type: "ban", Scope: "Range", Value: "2001:db8::/32", Scenario: "a/b", Until: begin, Alert: 4},
		{ID: 12, Origin: "cscli", Type: "captcha", Scope: "Country", Value: "FR", Until: begin.Add(time.Hour), Simulated: true},
	})
	f.Add(w.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) (ds []decisions.Decision, err error) {
			err = readBlock(7, b, func(d *decisions.Decision) error {
				c, err := decisions.Canonical(*d)
				ds = append(ds, c)
				return err
			})
			return ds, err
		}
		ds, err := read(b)
		if err != nil || len(ds) == 0 {
			return
		}
		var w blockWriter
		w.reset(7)
		for i := range ds {
			w.add(&ds[i])
		}
		if again, err := read(w.bytes()); err != nil || !slices.Equal(again, ds) {
			t.Errorf("%+v becomes %+v, %v", ds, again, err)
		}
	})
}

// FuzzReadRemovals holds removals to what comes of writing them again.
func FuzzReadRemovals(f *testing.F) {
	changes := func(all []removal) (out []decisions.Change) {
		for _, r := range all {
			out = append(out, decisions.Change{Seq: r.seq, Why: r.why, Decision: decisions.Decision{ID: r.id}})
		}
		return out
	}
	f.Add(appendRemovals(nil, changes([]removal{{7, 20, decisions.Deleted}, {3, 21, decisions.Expired}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := readRemovals(nil, 20, b)
		if err != nil {
			return
		}
		if again, err := readRemovals(nil, 20, appendRemovals(nil, changes(all))); err != nil || !slices.Equal(again, all) {
			t.Errorf("%+v becomes %+v, %v", all, again, err)
		}
	})
}

// BenchmarkImport imports a million decisions, as a list does.
func BenchmarkImport(b *testing.B) {
	for range b.N {
		s, err := Open(Options{Dir: b.TempDir(), Now: func() time.Time { return begin }})
		if err != nil {
			b.Fatal(err)
		}
		ds := make([]decisions.Decision, 1_000_000)
		for i := range ds {
			ds[i] = decisions.Decision{Scope: "Ip", Value: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Type: "ban", Origin: "lists:x", Scenario: "x", Until: begin.Add(time.Hour)}
		}
		b.ResetTimer()
		for len(ds) > 0 {
			part := ds[:10_000]
			ds = ds[10_000:]
			if _, _, err := s.AddAlert(&NewAlert{Decisions: part}); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(1_000_000/b.Elapsed().Seconds()*float64(b.N), "decisions/s")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAnAlertOfAnySizeIsWrittenWithItsDecisions has the alert's own record and
// the blocks of its decisions be of all lengths: Badger takes less at once than both are at their most.
func TestAnAlertOfAnySizeIsWrittenWithItsDecisions(t *testing.T) {
	w := newWorld(t, nil)
	want := 0
	for _, n := range []int{0, 1, 900, 2500} {
		for _, length := range []int{1_000, 100_000, 150_000, 240_000, 262_000, 300_000} {
			a := &NewAlert{Alert: lapi.Alert{Message: strings.Repeat("x", length)}, Decisions: make([]decisions.Decision, n)}
			for i := range a.Decisions {
				want++
				a.Decisions[i] = decisions.Decision{Origin: "cscli", Type: "ban", Scope: "Ip", Value: fmt.Sprintf("10.%d.%d.%d", want>>16, want>>8&255, want&255), Until: begin.Add(time.Hour)}
			}
			if _, _, err := w.AddAlert(a); err != nil {
				t.Fatalf("%d decisions with an alert of %d bytes: %v", n, length, err)
			}
		}
	}
	w.reopen()
	if got := w.index.Len(); got != want {
		t.Errorf("%d decisions are in force, want %d", got, want)
	}
}

// TestManySmallChangesAreForgottenAtOnce makes and ends more decisions one by
// one than Badger takes keys in a transaction.
func TestManySmallChangesAreForgottenAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	const n = 4_000
	for part := range slices.Chunk(slices.Collect(sequence(n)), 500) { // as they are on the disk; one by one takes as many syncs
		err := w.write(func(txn *badger.Txn) error {
			for _, i := range part {
				var one blockWriter
				d := decisions.Decision{ID: i, Origin: "cscli", Type: "ban", Scope: "Ip", Value: fmt.Sprintf("10.0.%d.%d", i>>8, i&255), Until: begin}
				_, blocks := one.portion([]decisions.Decision{d})
				gone := appendRemovals(nil, []decisions.Change{{Seq: n + i, Why: decisions.Expired, Decision: d}})
				if err := errors.Join(putBlocks(txn, blocks), txn.Set(key(keyRemoval, n+i), gone)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.reopen()
	if got := w.index.Seq(); got != 2*n || w.index.Len() != 0 {
		t.Fatalf("there are %d decisions after %d changes", w.index.Len(), got)
	}
	if err := w.Forget(w.index.Seq()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []byte{keyDecision, keyRemoval} {
		if err := w.scan(kind, func([]byte, []byte) error { return errTorn }); err != nil {
			t.Errorf("records of kind %c are left", kind)
		}
	}
}

// sequence gives the numbers from 1 to n.
func sequence(n int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for i := int64(1); i <= n && yield(i); i++ {
		}
	}
}

// TestAStoreIsClosedBehindWhoReadsIt closes it during a reading, which goes on to its end; the next is refused.
func TestAStoreIsClosedBehindWhoReadsIt(t *testing.T) {
	w := newWorld(t, nil)
	w.add("one")
	w.add("two")
	closed := make(chan error, 1)
	n := 0
	err := w.scan(keyAlert, func(_, value []byte) error {
		if n++; n == 1 {
			go func() { closed <- w.Store.Close() }()
			for range 1_000_000 { // where it does not wait, it is over by then
				if runtime.Gosched(); len(closed) > 0 {
					return errors.New("it is closed during a reading")
				}
			}
		}
		return json.Unmarshal(value, &Alert{})
	})
	if err != nil || n != 2 {
		t.Errorf("%d alerts are read, %v", n, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := w.Alerts(func(*Alert) bool { return true }); err == nil {
		t.Error("it is read when it is closed")
	}
	w.open() // which is closed in the end
}
