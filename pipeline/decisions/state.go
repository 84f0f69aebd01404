package decisions

import "time"

// Key names what decisions are about: a scope and a value, as they are kept.
type Key struct{ Scope, Value string }

// String returns scope:value.
func (k Key) String() string { return k.Scope + ":" + k.Value }

// State is a key with all decisions that are in force on it, the newest first; none when nothing is.
type State struct {
	Key
	Decisions []Decision
}

// Touched is what changed between two numbers, as far as it matters to
// someone who keeps the state of every key and not its history.
type Touched struct {
	// Keys are the keys of the changes, each once, with their states as they are now.
	Keys []State
	// Last is the number of the last change that was looked at.
	Last int64
	// Added counts the additions that are in force, Expired those that ended
	// before they were looked at.
	Added, Expired int
}

// Touched returns what happened behind a number, at most limit changes of it,
// and false when changes behind it are no longer known.
func (x *Index) Touched(since int64, limit int, now time.Time) (t Touched, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	first := x.forgotten()
	if since < first || since > x.seq {
		return Touched{}, false
	}
	t.Last = min(since+int64(limit), x.seq)
	seen := make(map[Key]bool)
	for seq := since + 1; seq <= t.Last; seq++ {
		c := x.log.at(int(seq - first - 1))
		if c.ref == 0 {
			continue // it was forgotten before a restart
		}
		s := x.slots.at(c.ref)
		switch d := x.decision(s); {
		case c.why == Added && s.id != seq:
			continue // its slot is another's by now
		case c.why == Added && s.gone == Added && s.until > now.Unix():
			t.Added++
			x.touch(&t, seen, &d, now)
		case c.why == Added && (s.gone == Added || s.gone == Expired):
			t.Expired++
			x.touch(&t, seen, &d, now)
		default:
			x.touch(&t, seen, &d, now)
		}
	}
	return t, true
}

func (x *Index) touch(t *Touched, seen map[Key]bool, d *Decision, now time.Time) {
	if k := (Key{d.Scope, d.Value}); !seen[k] {
		seen[k] = true
		t.Keys = append(t.Keys, x.state(k, now))
	}
}

// States returns the states of keys, in their order.
func (x *Index) States(keys []Key, now time.Time) []State {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]State, len(keys))
	for i, k := range keys {
		out[i] = x.state(k, now)
	}
	return out
}

// state must be called with the lock held.
func (x *Index) state(k Key, now time.Time) State {
	out := State{Key: k}
	for r := x.newest(k.Scope, k.Value); r != 0; r = x.slots.at(r).next {
		if s := x.slots.at(r); s.until > now.Unix() {
			out.Decisions = append(out.Decisions, x.decision(s))
		}
	}
	return out
}
