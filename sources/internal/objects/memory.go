package objects

// remembered is an object that was found.
type remembered struct {
	id  identity
	seq int64
	// until is when it may be forgotten, and hard when it may be forgotten even
	// if too many are remembered, in seconds of Unix time.
	until, hard int64
}

// memory knows the objects that were found lately, so that one that is found
// again is not read again. It is bounded; the manifest's lock guards it.
type memory struct {
	limit int
	known map[identity]int64 // numbers
	queue []remembered       // queue[head:], about in the order of their finding
	head  int
}

func newMemory(limit int) *memory { return &memory{limit: limit, known: make(map[identity]int64)} }

// number returns the number of an object that is known.
func (m *memory) number(id identity) (int64, bool) {
	seq, ok := m.known[id]
	return seq, ok
}

func (m *memory) add(r remembered) {
	m.known[r.id] = r.seq
	m.queue = append(m.queue, r)
}

func (m *memory) len() int { return len(m.queue) - m.head }

// forget lets go of what may go. Objects from the number read on have not been read.
func (m *memory) forget(now, read int64) {
	for range m.len() { // each is looked at once at most
		r := m.queue[m.head]
		full := m.len() > m.limit
		switch {
		case r.seq >= read || r.hard > now:
			if !full {
				return
			}
			m.queue = append(m.queue, r) // it must stay; perhaps the next may go
		case r.until <= now || full:
			delete(m.known, r.id)
		default:
			return
		}
		m.queue[m.head] = remembered{}
		m.head++
	}
	if m.head > len(m.queue)/2 {
		m.queue = append(m.queue[:0], m.queue[m.head:]...)
		m.head = 0
	}
}

// oldest returns the lowest number that is remembered, or next where none is.
func (m *memory) oldest(next int64) int64 {
	for _, r := range m.queue[m.head:] {
		next = min(next, r.seq)
	}
	return next
}
