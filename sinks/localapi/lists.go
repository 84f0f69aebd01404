package localapi

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"sluice/pipeline/decisions"
	"sluice/sinks/localapi/blocklist"
	"sluice/sinks/localapi/store"
)

// list is a configured block list. Its decisions are known by their origin, in
// the store; beside them the store knows what a restart needs.
type list struct {
	config blocklist.Config
	fetch  *blocklist.Fetcher
	seed   maphash.Seed
	wake   chan struct{} // a person has had it read: the next time is another

	reading  sync.Mutex // held while it is read, for what follows
	loaded   bool       // state was read from the store
	state    store.List
	failures int
	shrunk   time.Time // when it was first found to hold much less; zero while it does not

	mu    sync.Mutex // for what follows, which others look at meanwhile
	shown store.List // the state after the last reading
	next  time.Time
}

// show lets others see the state.
func (l *list) show(next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown, l.next = l.state, next
}

// see returns the state, and when the list is read next.
func (l *list) see() (store.List, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shown, l.next
}

func newLists(configs []blocklist.Config) ([]*list, error) {
	out := make([]*list, len(configs))
	for i, c := range configs {
		f, err := blocklist.NewFetcher(c)
		if err != nil {
			return nil, err
		}
		out[i] = &list{config: c.Complete(), fetch: f, seed: maphash.MakeSeed(), wake: make(chan struct{}, 1)}
	}
	return out, nil
}

// runLists reads the lists when they are due, until ctx is done.
func (s *Sink) runLists(ctx context.Context) error {
	if err := s.dropLists(); err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, l := range s.lists {
		if err := l.begin(s.store); err != nil {
			return err
		}
		all.Go(func() { s.runList(ctx, l) })
	}
	return nil
}

// dropLists withdraws the decisions of lists that are no longer configured.
func (s *Sink) dropLists() error {
	known, err := s.store.Lists()
	if err != nil {
		return err
	}
	configured := make(map[string]bool, len(s.lists))
	for _, l := range s.lists {
		configured[l.config.Name] = true
	}
	for i := range known {
		name := known[i].Name
		if configured[name] {
			continue
		}
		n, err := s.store.DropList(name)
		if err != nil {
			return err
		}
		s.log.Info("a block list is no longer configured: its decisions are withdrawn", "list", name, "withdrawn", n)
	}
	return nil
}

func (s *Sink) runList(ctx context.Context, l *list) {
	defer l.fetch.Close()
	for {
		_, next := l.see()
		if wait := next.Sub(s.store.Now()); wait > 0 {
			select {
			case <-s.env.After(wait):
			case <-l.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if _, err := s.refreshList(ctx, l, false); ctx.Err() != nil {
			return
		} else if err != nil {
			continue // it was told, and next is later
		}
	}
}

// load reads what the store knows of the list, once. l.reading is held.
func (l *list) load(st *store.Store) error {
	if l.loaded {
		return nil
	}
	known, err := st.Lists()
	if err != nil {
		return err
	}
	l.state = store.List{Name: l.config.Name}
	for i := range known {
		if known[i].Name == l.config.Name {
			l.state = known[i]
		}
	}
	l.loaded = true
	l.show(time.Time{})
	return nil
}

// begin says when the list is read first: now, unless what is in force is what
// was read not long ago.
func (l *list) begin(st *store.Store) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	err := l.load(st)
	next := st.Now()
	if l.whole(st) {
		next = l.state.LastSuccess.Add(l.config.Every)
	}
	l.show(next)
	return err
}

// whole tells whether what is in force is what a read with these settings came to.
func (l *list) whole(st *store.Store) bool {
	n := 0
	st.Listed(l.config.Name, func(*decisions.Decision) { n++ })
	return !l.state.LastSuccess.IsZero() && l.state.Settings == l.config.Settings() && n == l.state.Entries && l.state.AllowMark == st.AllowMark()
}

// Outcome says what reading a list came to.
type Outcome struct {
	// Unchanged tells that the list is the one that was read before.
	Unchanged bool `json:"unchanged"`
	Items     int  `json:"items"`
	Added     int  `json:"added"`
	Renewed   int  `json:"renewed"`
	Removed   int  `json:"removed"`
	Allowed   int  `json:"allowed"`
	Malformed int  `json:"malformed"`
}

// refreshList reads a list and brings its decisions up to it. With force it is
// read whole, and believed although it holds much less than before. What goes
// wrong is told in the log once, until it goes well again.
func (s *Sink) refreshList(ctx context.Context, l *list, force bool) (Outcome, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if err := l.load(s.store); err != nil {
		return Outcome{}, err
	}
	now := s.store.Now().UTC()
	l.state.LastTry = now
	out, err := s.read(ctx, l, force, now)
	if err != nil && ctx.Err() != nil {
		return out, err // nobody wants it any more, which says nothing of the list
	}
	if err != nil {
		wait := l.backoff()
		if l.failures++; l.failures == 1 {
			s.log.Warn("a block list cannot be read; what it held stays in force until it ends", "list", l.config.Name, "from", l.config.Where(), "error", err)
		}
		l.state.LastError = err.Error()
		l.show(now.Add(wait))
		return out, errors.Join(err, s.store.PutList(&l.state))
	}
	if l.failures > 0 {
		s.log.Info("a block list is read again", "list", l.config.Name)
	}
	l.failures, l.shrunk = 0, time.Time{}
	l.state.LastSuccess, l.state.LastError = now, ""
	if out.Added+out.Removed > 0 {
		l.state.LastChange = now
		s.log.Info("a block list has changed", "list", l.config.Name, "items", out.Items, "added", out.Added, "removed", out.Removed, "allowed", out.Allowed)
	}
	l.show(now.Add(l.config.Every))
	return out, s.store.PutList(&l.state)
}

// The waits after failures: they double up to the list's schedule, and half of
// each is left to chance, so that many do not come back to a server together.
const firstListWait = time.Minute

func (l *list) backoff() time.Duration {
	wait := firstListWait
	for range min(l.failures, 20) {
		wait = min(2*wait, l.config.Every)
	}
	wait = min(wait, l.config.Every)
	return wait/2 + rand.N(wait/2+1)
}

// read opens the list and, where it is another than before, takes it in.
func (s *Sink) read(ctx context.Context, l *list, force bool, now time.Time) (Outcome, error) {
	old := blocklist.Stamp{}
	if !force && !l.state.Own && l.whole(s.store) {
		old = l.state.Stamp // what is in force is what it says: it need not be sent again
	}
	body, stamp, err := l.fetch.Open(ctx, old)
	if err != nil {
		return Outcome{}, err
	}
	t := newTaking(s, l, now)
	if body == nil {
		t.keepAll()
		t.out.Items, t.out.Malformed = l.state.Items, l.state.Malformed
		return t.out, s.apply(l, t)
	}
	found, err := blocklist.Load(body, l.config, t.take)
	if err := errors.Join(err, body.Close()); err != nil {
		return Outcome{}, err
	}
	if err := l.believable(t.out.Items, force, now); err != nil {
		return Outcome{}, err
	}
	if found.Malformed > 0 && found.Malformed != l.state.Malformed {
		s.log.Warn("lines of a block list are no items and left out", "list", l.config.Name, "lines", found.Malformed, "first", found.First)
	}
	l.state.Settings, l.state.Items, l.state.Malformed, l.state.Own = l.config.Settings(), t.out.Items, found.Malformed, found.Own
	t.out.Unchanged, t.out.Malformed = false, found.Malformed
	l.state.Stamp = blocklist.Stamp{} // until all of it is in force
	if err := s.apply(l, t); err != nil {
		return t.out, err
	}
	l.state.Stamp = stamp
	return t.out, nil
}

// fewItems is how many a list may lose without being asked twice.
const fewItems = 20

// believable doubts a list that has lost more than half of its items: it may
// have been cut. It is believed when it is no longer after a whole turn.
func (l *list) believable(items int, force bool, now time.Time) error {
	if force || l.state.Items-items <= fewItems || items >= l.state.Items/2 {
		l.shrunk = time.Time{}
		return nil
	}
	if l.shrunk.IsZero() {
		l.shrunk = now
	}
	if now.Sub(l.shrunk) >= l.config.Every {
		return nil
	}
	return fmt.Errorf("it holds %d items and held %d before: it is believed when it still does %v later, or at once by `sluice blocklists refresh --force`",
		items, l.state.Items, l.config.Every)
}

// taking is a list on its way in: what it holds beside what is in force.
type taking struct {
	l     *list
	now   time.Time
	first int64 // number of the last change before it
	have  map[[2]uint64]held
	fresh []fresh
	store *store.Store
	out   Outcome
}

// held is a decision in force, or, without an id, one that is to be made.
type held struct {
	id    int64
	until int64 // Unix seconds
	seen  bool  // it is on the list, and stays as it is
}

// fresh is a decision to be made: less than a decisions.Decision, of which a
// long list may need a million.
type fresh struct {
	scope, value, typ string
	length            time.Duration
}

func newTaking(s *Sink, l *list, now time.Time) *taking {
	t := &taking{l: l, now: now, store: s.store, have: make(map[[2]uint64]held), first: s.store.Index().Seq()}
	s.store.Listed(l.config.Name, func(d *decisions.Decision) {
		k := t.key(d.Scope, d.Value, d.Type)
		if h, twice := t.have[k]; !twice || d.Until.Unix() > h.until {
			t.have[k] = held{id: d.ID, until: d.Until.Unix()}
		}
	})
	return t
}

// key stands for a decision's value and type. With 128 bits by seeds that
// nobody knows no two of them are alike.
func (t *taking) key(scope, value, typ string) [2]uint64 {
	var h maphash.Hash
	h.SetSeed(t.l.seed)
	var out [2]uint64
	for i := range out {
		_ = h.WriteByte(byte(i)) // it cannot fail
		for _, text := range [...]string{scope, value, typ} {
			_, _ = h.WriteString(text)
			_ = h.WriteByte(0)
		}
		out[i] = h.Sum64()
	}
	return out
}

// take notes an item. One that is in force, and will be until the list has been
// read twice more, stays as it is: nobody hears of it.
func (t *taking) take(it blocklist.Item) error {
	k := t.key(it.Scope, it.Value, it.Type)
	h, ok := t.have[k]
	if h.seen {
		return nil // it is on the list twice
	}
	t.out.Items++
	until := t.now.Add(it.Length)
	due := h.until < t.now.Add(2*t.l.config.Every).Unix() && until.Unix()-h.until >= int64(t.l.config.Every.Seconds()/2)
	if ok && !due {
		h.seen = true
		t.have[k] = h
		return nil
	}
	t.have[k] = held{seen: true}
	t.fresh = append(t.fresh, fresh{it.Scope, it.Value, it.Type, it.Length})
	return nil
}

// keepAll takes what is in force for the list.
func (t *taking) keepAll() {
	t.out.Unchanged = true
	var all []blocklist.Item
	t.store.Listed(t.l.config.Name, func(d *decisions.Decision) {
		if d.Until.Before(t.now.Add(2 * t.l.config.Every)) {
			all = append(all, blocklist.Item{Scope: d.Scope, Value: d.Value, Type: d.Type, Length: t.l.config.Duration})
		}
	})
	for k, h := range t.have {
		if h.until >= t.now.Add(2*t.l.config.Every).Unix() {
			h.seen = true
			t.have[k] = h
		}
	}
	for _, it := range all {
		_ = t.take(it) // it never fails
	}
}

// apply makes what is new or lasts longer, and only then withdraws what left
// the list: no address that is on it is out of force in between.
func (s *Sink) apply(l *list, t *taking) error {
	if l.state.LastSuccess.IsZero() {
		if err := s.store.PutList(&l.state); err != nil { // so that its decisions are withdrawn when it is never configured again
			return err
		}
	}
	origin := store.ListOrigin(l.config.Name)
	made, err := s.store.AddListed(l.config.Name, func(add func(*decisions.Decision) error) error {
		for i := range t.fresh {
			f := &t.fresh[i]
			err := add(&decisions.Decision{Origin: origin, Scenario: l.config.Name, Scope: f.scope, Value: f.value, Type: f.typ, Until: t.now.Add(f.length)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.out.Added, t.out.Renewed, t.out.Allowed = made.Added, made.Renewed, made.Allowed
	var gone []decisions.Decision
	replaced, inForce := 0, 0
	s.store.Listed(l.config.Name, func(d *decisions.Decision) {
		h, known := t.have[t.key(d.Scope, d.Value, d.Type)]
		if inForce++; d.ID > t.first || known && h.seen && h.id == d.ID {
			return
		}
		if gone = append(gone, decisions.Decision{ID: d.ID, Scope: d.Scope, Value: d.Value}); known && h.seen {
			replaced++
		}
	})
	n, err := s.store.Withdraw(gone)
	if err != nil {
		return err
	}
	t.out.Removed = max(0, n-replaced)
	l.state.Entries, l.state.AllowMark = inForce-n, s.store.AllowMark()
	if !t.out.Unchanged {
		l.state.Allowed = t.out.Allowed
	}
	return nil
}
