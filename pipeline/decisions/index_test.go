package decisions

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// model is the index as one would write it without thinking of speed: a list of all that ever was.
type model struct {
	all []modelled
	seq int64
}

type modelled struct {
	Decision
	gone    Why
	removed int64 // number of the removal
}

func (m *model) inForce(d *modelled, f *Filter, now time.Time) bool {
	return d.gone == Added && d.Until.After(now) && m.selects(f, &d.Decision)
}

func (m *model) selects(f *Filter, d *Decision) bool {
	p, err := ParsePrefix(d.Value)
	address := d.Scope == ScopeIP || d.Scope == ScopeRange
	if f.Prefix.IsValid() {
		if err != nil || !address || !f.Prefix.Overlaps(p) {
			return false
		}
		if f.Within && p.Bits() < f.Prefix.Bits() || !f.Within && p.Bits() > f.Prefix.Bits() {
			return false
		}
	}
	if v, err := ParsePrefix(f.Value); f.Value != "" && f.Value != d.Value && !(address && err == nil && v == p) {
		return false
	}
	has := func(words []string, in string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(in, w) })
	}
	return (f.ID == 0 || f.ID == d.ID) && (f.Scope == "" || strings.EqualFold(f.Scope, d.Scope)) && (f.Type == "" || f.Type == d.Type) &&
		(f.Scenario == "" || f.Scenario == d.Scenario) && !(f.Enforced && d.Simulated) &&
		(len(f.Scopes) == 0 || slices.ContainsFunc(f.Scopes, func(s string) bool { return strings.EqualFold(s, d.Scope) })) &&
		(len(f.Origins) == 0 || slices.Contains(f.Origins, d.Origin) || strings.HasPrefix(d.Origin, "lists:") && slices.Contains(f.Origins, "lists")) &&
		(len(f.Containing) == 0 || has(f.Containing, d.Scenario)) && !has(f.NotContaining, d.Scenario)
}

func (m *model) remove(f *Filter, why Why, now time.Time) (ids []int64) {
	for i := range m.all {
		if d := &m.all[i]; m.inForce(d, f, now) {
			ids = append(ids, d.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func (m *model) removed(ids []int64, why Why) {
	for _, id := range ids {
		m.seq++
		i := slices.IndexFunc(m.all, func(d modelled) bool { return d.ID == id })
		m.all[i].gone, m.all[i].removed = why, m.seq
	}
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func randomDecision(rng *rand.Rand, now time.Time) Decision {
	d := Decision{
		Origin: pick(rng, "crowdsec", "cscli", "lists:bad", "lists:worse"), Type: pick(rng, "ban", "captcha"),
		Scenario: pick(rng, "a/ssh-bf", "b/http-probing", "manual"), Until: now.Add(time.Duration(rng.IntN(40_000)) * time.Millisecond),
		Simulated: rng.IntN(8) == 0, Alert: rng.Int64N(5),
	}
	d.UUID[0] = byte(rng.IntN(256))
	host := rng.IntN(8)
	switch rng.IntN(6) {
	case 0:
		d.Scope, d.Value = pick(rng, "Range", "range"), fmt.Sprintf("10.0.0.%d/%d", host, pick(rng, 24, 30, 31, 32))
	case 1:
		d.Scope, d.Value = "Range", fmt.Sprintf("2001:db8::%d/%d", host, pick(rng, 32, 126, 128))
	case 2:
		d.Scope, d.Value = "Ip", fmt.Sprintf("2001:DB8:0:0::%d", host)
	case 3:
		d.Scope, d.Value = pick(rng, "Country", "username"), pick(rng, "FR", "root", "10.0.0.1")
	case 4:
		d.Scope, d.Value = "ip", fmt.Sprintf("::ffff:10.0.0.%d", host)
	default:
		d.Scope, d.Value = "Ip", fmt.Sprintf("10.0.0.%d", host)
	}
	return d
}

func randomFilter(rng *rand.Rand) *Filter {
	f := &Filter{Enforced: rng.IntN(3) == 0}
	if rng.IntN(3) == 0 {
		f.Prefix, _ = ParsePrefix(pick(rng, "10.0.0.1", "10.0.0.4/31", "10.0.0.0/24", "2001:db8::2", "2001:db8::/64", "0.0.0.0/0"))
		f.Within = rng.IntN(2) == 0
	}
	if rng.IntN(4) == 0 {
		f.Value = pick(rng, "FR", "10.0.0.1", "10.0.0.0/30", "2001:db8::3", "root", "none")
		f.Scope = pick(rng, "", "ip", "Range", "country", "username")
	}
	if rng.IntN(4) == 0 {
		f.Type, f.Scopes = pick(rng, "", "ban"), pick(rng, nil, []string{"ip"}, []string{"Range", "Country"})
	}
	if rng.IntN(4) == 0 {
		f.Origins = pick(rng, nil, []string{"lists"}, []string{"cscli", "lists:bad"})
		f.Containing, f.NotContaining = pick(rng, nil, []string{"ssh", "http"}), pick(rng, nil, []string{"bf"})
	}
	if rng.IntN(8) == 0 {
		f.Scenario = pick(rng, "manual", "unknown")
	}
	return f
}

// TestIndexIsTheModel holds the index to the model in random lives: the same
// answers to every question after every step, and the same changes for bouncers
// that ask at random times and for those that begin anew.
func TestIndexIsTheModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		x, m, now := &Index{}, &model{}, begin
		forgotten := int64(0)
		for range 150 {
			switch rng.IntN(10) {
			case 0, 1, 2, 3, 4:
				d := randomDecision(rng, now)
				id, err := x.Add(&d)
				if err != nil {
					t.Fatal(err)
				}
				m.seq++
				if id != m.seq {
					t.Fatalf("seed %d: id %d, want %d", seed, id, m.seq)
				}
				d, _ = Canonical(d)
				d.ID = id
				m.all = append(m.all, modelled{Decision: d})
			case 5:
				f := randomFilter(rng)
				want := m.remove(f, Deleted, now)
				got := idsOf(x.Remove(f, Deleted, now))
				m.removed(got, Deleted)
				compareIDs(t, seed, "removed", got, want)
			case 6, 7:
				now = now.Add(time.Duration(rng.IntN(9_000)) * time.Millisecond)
				var want []int64
				for i := range m.all {
					if d := &m.all[i]; d.gone == Added && !d.Until.After(now) {
						want = append(want, d.ID)
					}
				}
				var got []int64
				for {
					some := x.Expire(now, 3)
					if got = append(got, idsOf(some)...); len(some) < 3 {
						break
					}
				}
				m.removed(got, Expired)
				compareIDs(t, seed, "expired", got, want)
			case 8:
				forgotten = max(forgotten, m.seq-int64(rng.IntN(60)))
				x.Forget(forgotten)
				if rng.IntN(4) == 0 {
					x = restored(t, x, m, forgotten)
				}
			default:
				compareAnswers(t, seed, rng, x, m, now)
			}
		}
		if t.Failed() {
			return
		}
	}
}

func idsOf(changes []Change) (ids []int64) {
	for _, c := range changes {
		ids = append(ids, c.ID)
	}
	return ids
}

// restored makes an index of what the model knows, as after a restart.
func restored(t *testing.T, old *Index, m *model, behind int64) *Index {
	t.Helper()
	known := func(yield func(*Change) bool) {
		for i := range m.all {
			d := &m.all[i]
			if d.gone == Added || d.removed > behind {
				yield(&Change{Seq: max(d.ID, d.removed), Why: d.gone, Decision: d.Decision})
			}
		}
	}
	x := &Index{}
	if err := x.Restore(known, behind, m.seq); err != nil {
		t.Fatal(err)
	}
	if x.Len() != old.Len() || x.Seq() != old.Seq() {
		t.Errorf("restored %d up to %d, want %d up to %d", x.Len(), x.Seq(), old.Len(), old.Seq())
	}
	return x
}

func compareIDs(t *testing.T, seed uint64, what string, got, want []int64) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("seed %d: %s %v, want %v", seed, what, got, want)
	}
}

func compareAnswers(t *testing.T, seed uint64, rng *rand.Rand, x *Index, m *model, now time.Time) {
	t.Helper()
	f := randomFilter(rng)
	var got, want, longest []int64
	for i := range m.all {
		d := &m.all[i]
		if !m.inForce(d, f, now) {
			continue
		}
		want = append(want, d.ID)
		if !slices.ContainsFunc(m.all, func(o modelled) bool {
			return o.Scope == d.Scope && o.Value == d.Value && o.Type == d.Type && m.inForce(&o, f, now) &&
				(o.Until.After(d.Until) || o.Until.Equal(d.Until) && o.ID > d.ID)
		}) {
			longest = append(longest, d.ID)
		}
	}
	x.Select(f, now, func(d *Decision) bool {
		got = append(got, d.ID)
		if i := slices.IndexFunc(m.all, func(o modelled) bool { return o.ID == d.ID }); m.all[i].Decision != *d {
			t.Errorf("seed %d: decision %+v, want %+v", seed, *d, m.all[i].Decision)
		}
		return true
	})
	compareIDs(t, seed, fmt.Sprintf("selected by %+v", *f), got, want)
	got = nil
	seq, err := x.Startup(f, now, true, func(page []Decision) error {
		for _, d := range page {
			got = append(got, d.ID)
		}
		return nil
	})
	if err != nil || seq != m.seq {
		t.Errorf("seed %d: startup at %d, %v, want %d", seed, seq, err, m.seq)
	}
	compareIDs(t, seed, "startup", got, longest)
	compareDelta(t, seed, rng, x, m, f, now)
}

// compareDelta has a bouncer that knew everything at some number apply the
// changes since: it must then know what is in force, each value and type once.
// So must one that knew more than the index is sure of.
func compareDelta(t *testing.T, seed uint64, rng *rand.Rand, x *Index, m *model, f *Filter, now time.Time) {
	t.Helper()
	since := m.seq - rng.Int64N(min(m.seq+1, 30))
	knew, delta := since, x.Delta
	if rng.IntN(2) == 0 {
		knew, delta = since+rng.Int64N(m.seq-since+1), x.DeltaInDoubt
	}
	type key struct{ scope, value, typ string }
	keyOf := func(d *Decision) key { return key{d.Scope, d.Value, d.Type} }
	knows := make(map[key]bool)
	want := make(map[key]bool)
	for i := range m.all {
		d := &m.all[i]
		if d.ID <= knew && (d.gone == Added || d.removed > knew) && m.selects(f, &d.Decision) {
			knows[keyOf(&d.Decision)] = true // it may have ended since, and not yet be expired
		}
		if m.inForce(d, f, now) {
			want[keyOf(&d.Decision)] = true
		}
	}
	var gone, doubted []int64
	if err := x.Gone(since, f, now, true, func(page []Decision) error {
		for _, d := range page {
			gone = append(gone, d.ID)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_, removed, _, _ := x.DeltaInDoubt(since, f, now, true)
	for _, d := range removed {
		doubted = append(doubted, d.ID)
	}
	compareIDs(t, seed, "gone in doubt", gone, doubted)
	added, removed, last, known := delta(since, f, now, true)
	if !known {
		return // it was forgotten; the bouncer begins anew
	}
	if last != m.seq {
		t.Errorf("seed %d: delta up to %d, want %d", seed, last, m.seq)
	}
	for i := range removed {
		delete(knows, keyOf(&removed[i]))
	}
	for i := range added {
		knows[keyOf(&added[i])] = true
	}
	for k := range want {
		if !knows[k] {
			t.Errorf("seed %d: a bouncer at %d does not learn of %v", seed, since, k)
		}
	}
	for k := range knows {
		if !want[k] && !slices.ContainsFunc(m.all, func(d modelled) bool { // ended, and not expired yet: removal comes next time
			return d.gone == Added && keyOf(&d.Decision) == k && !d.Until.After(now)
		}) {
			t.Errorf("seed %d: a bouncer at %d keeps %v", seed, since, k)
		}
	}
}

func TestCoveringGivesTheNearestFirst(t *testing.T) {
	x := &Index{}
	for _, d := range []Decision{
		{Scope: "Range", Value: "10.0.0.0/8", Type: "captcha"},
		{Scope: "Range", Value: "10.1.2.3/32", Type: "throttle"},
		{Scope: "Range", Value: "10.1.0.0/16", Type: "ban"},
		{Scope: "Ip", Value: "10.1.2.3", Type: "ban"},
		{Scope: "Ip", Value: "::ffff:10.1.2.3", Type: "captcha"},
		{Scope: "Ip", Value: "10.1.2.4", Type: "ban"},
		{Scope: "Country", Value: "FR", Type: "ban"},
	} {
		d.Until = begin.Add(time.Minute)
		if _, err := x.Add(&d); err != nil {
			t.Fatal(err)
		}
	}
	for address, want := range map[string]string{
		"10.1.2.3": "5 4 2 3 1", "::ffff:10.1.2.3": "5 4 2 3 1", "10.1.9.9": "3 1", "11.0.0.1": "", "2001:db8::1": "",
	} {
		var got []string
		x.Covering(netip.MustParseAddr(address), begin, func(d *Decision) bool {
			got = append(got, fmt.Sprint(d.ID))
			return true
		})
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s is covered by %q, want %q", address, s, want)
		}
	}
}

func TestWhatIsNoDecisionIsRefused(t *testing.T) {
	for _, d := range []Decision{
		{Scope: "Ip", Value: "10.0.0", Type: "ban"},
		{Scope: "Range", Value: "10.0.0.0/33", Type: "ban"}, {Scope: "Ip", Value: "fe80::1%eth0", Type: "ban"},
		{Scope: "Ip", Value: "", Type: "ban"}, {Scope: "Ip", Value: "10.0.0.1"},
	} {
		if id, err := new(Index).Add(&d); err == nil {
			t.Errorf("%+v was added as %d", d, id)
		}
	}
}

func TestARangeIsOfScopeRange(t *testing.T) {
	x := &Index{}
	if _, err := x.Add(&Decision{Scope: "ip", Value: "10.0.0.9/24", Type: "ban", Until: begin.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	var got []string
	x.Covering(netip.MustParseAddr("10.0.0.1"), begin, func(d *Decision) bool {
		got = append(got, d.Scope+" "+d.Value)
		return true
	})
	if !slices.Equal(got, []string{"Range 10.0.0.0/24"}) {
		t.Errorf("it is kept as %v", got)
	}
}

// TestMemoryIsUsedAgain holds the memory of an index through which many more
// decisions pass than are in force at once.
func TestMemoryIsUsedAgain(t *testing.T) {
	x := &Index{}
	now := begin
	for i := range 100_000 {
		d := Decision{Scope: "username", Value: fmt.Sprint("user-", i), Type: "ban", Scenario: fmt.Sprint("reason-", i/2), Until: now.Add(2 * time.Second)}
		if _, err := x.Add(&d); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			now = now.Add(time.Second)
			for len(x.Expire(now, 50)) == 50 {
			}
			x.Forget(x.Seq() - 1000)
		}
	}
	if len(x.slots.chunks) > 1 || len(x.texts.all) > 2000 || len(x.kinds.all) > 2000 || x.log.len > 1000 || len(x.log.chunks) > 2 || len(x.due) > 10 {
		t.Errorf("%d chunks, %d texts, %d kinds, %d changes, %d seconds", len(x.slots.chunks), len(x.texts.all), len(x.kinds.all), x.log.len, len(x.due))
	}
}
