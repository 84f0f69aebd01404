package amqp

import (
	"fmt"
	"strconv"
	"strings"
)

// ids knows the message_ids of the last messages of a queue. It is a ring
// whose places are marks, so that it is as durable as the messages, and bounded. It is one goroutine's.
type ids struct {
	queue  string
	size   int
	places []string       // by place, the id in it
	at     map[string]int // place by id
	next   uint64         // counts the ids that were added; its remainder is the next place
}

// mark is the name of a place's mark.
func (r *ids) mark(place int) string { return fmt.Sprintf("id %d %s", place, r.queue) }

// restoreIDs makes the ring of a queue of what the marks hold. stale are the
// marks of places that it does not have any more.
func restoreIDs(queue string, size int, marks map[string]string) (r *ids, stale []string) {
	r = &ids{queue: queue, size: size, places: make([]string, size), at: make(map[string]int)}
	for mark, value := range marks {
		number, id, ok := strings.Cut(value, " ")
		count, err := strconv.ParseUint(number, 10, 64)
		place, of, placed := strings.Cut(strings.TrimPrefix(mark, "id "), " ")
		n, perr := strconv.Atoi(place)
		if !placed || of != queue || !strings.HasPrefix(mark, "id ") {
			continue
		}
		if !ok || err != nil || perr != nil || n < 0 || n >= size || int(count%uint64(size)) != n {
			stale = append(stale, mark)
			r.at[id] = -1 // known, for this run: it may be unacknowledged yet
			continue
		}
		r.places[n], r.at[id] = id, n
		r.next = max(r.next, count+1)
	}
	return r, stale
}

// has tells whether a message of this id was added lately.
func (r *ids) has(id string) bool {
	_, ok := r.at[id]
	return ok && id != ""
}

// add adds an id in the place of the oldest, and returns the mark that says so.
func (r *ids) add(id string) (mark, value string) {
	place := int(r.next % uint64(r.size))
	if old := r.places[place]; r.at[old] == place {
		delete(r.at, old)
	}
	r.places[place], r.at[id] = id, place
	value = fmt.Sprintf("%d %s", r.next, id)
	r.next++
	return r.mark(place), value
}
