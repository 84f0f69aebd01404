package decisions

// name stands for a value of an interned; 0 for none.
type name uint32

// interned keeps each value once, and counts its uses.
type interned[T comparable] struct {
	all  []counted[T]
	by   map[T]name
	free []name
	last name // that was used last: the next is often the same
}

type counted[T comparable] struct {
	value T
	uses  int
}

// use returns the name of a value, of which keep makes a copy where it is new:
// the caller's may be part of something large.
func (t *interned[T]) use(v T, keep func(T) T) name {
	if len(t.all) == 0 {
		t.all, t.by = make([]counted[T], 1), make(map[T]name)
	}
	n := t.last
	if n == 0 || t.all[n].value != v {
		n = t.by[v]
	}
	if n == 0 {
		if last := len(t.free) - 1; last >= 0 {
			n, t.free = t.free[last], t.free[:last]
		} else {
			n = name(len(t.all))
			t.all = append(t.all, counted[T]{})
		}
		v = keep(v)
		t.all[n].value, t.by[v] = v, n
	}
	t.all[n].uses++
	t.last = n
	return n
}

// drop ends one use.
func (t *interned[T]) drop(n name) {
	c := &t.all[n]
	if c.uses--; c.uses > 0 {
		return
	}
	delete(t.by, c.value)
	*c = counted[T]{}
	t.free = append(t.free, n)
	if t.last == n {
		t.last = 0
	}
}

// find returns the name of a value, 0 where it is not kept.
func (t *interned[T]) find(v T) name { return t.by[v] }

// get returns the value of a name.
func (t *interned[T]) get(n name) *T { return &t.all[n].value }
