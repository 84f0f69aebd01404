package httpd

import (
	"container/list"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// repeats knows the requests of late by their keys, so that one that comes
// again is not counted again. What is known of a request is a mark that is kept with its
// records: where they are several entries, each entry's mark says how many of them
// there are, and a repeat goes on behind those.
type repeats struct {
	remember int

	mu    sync.Mutex
	seq   uint64
	known map[string]*known // by id
	order *list.List        // of those that are not under way, the oldest first
}

// known is a request that came.
type known struct {
	id, digest string
	seq        uint64
	done       int  // entries of it that are safe
	whole      bool // and those are all

	busy   chan struct{} // closed when it is not under way any more; nil when it is not
	place  *list.Element
	victim *known // that it takes the place of
}

func newRepeats(remember int) *repeats {
	return &repeats{remember: remember, known: make(map[string]*known), order: list.New()}
}

// markPrefix is how the marks of requests begin.
const markPrefix = "request "

// keyOf returns the name of a request's key: it is that client's and that path's alone.
func keyOf(path, client, key string) string {
	sum := sha256.Sum256([]byte(path + "\x00" + client + "\x00" + key))
	return base64.RawURLEncoding.EncodeToString(sum[:15])
}

// restore takes up what earlier runs knew.
func (p *repeats) restore(marks map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*known
	for name, value := range marks {
		id, ok := strings.CutPrefix(name, markPrefix)
		if !ok {
			continue
		}
		k := &known{id: id}
		var total int
		if _, err := fmt.Sscanf(value, "%x %d/%d %s", &k.seq, &k.done, &total, &k.digest); err != nil {
			continue // of no version that is known
		}
		k.whole = k.done == total
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *known) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	for _, k := range all {
		p.known[k.id] = k
		k.place = p.order.PushBack(k)
		p.seq = max(p.seq, k.seq)
	}
}

// begin takes a request up. It returns what is known of it, for finish; or, where
// another with its key is under way, what to wait for before asking again. It
// fails where the key was used for another body.
func (p *repeats) begin(id, digest string) (k *known, wait <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k = p.known[id]
	switch {
	case k != nil && k.digest != digest:
		return nil, nil, &Refusal{http.StatusUnprocessableEntity, "the request's key was used before, with another body", dropMismatch}
	case k != nil && k.busy != nil:
		return nil, k.busy, nil
	case k != nil && k.whole:
		return k, nil, nil
	case k != nil:
		p.order.Remove(k.place)
	default:
		p.seq++
		k = &known{id: id, digest: digest, seq: p.seq}
		p.known[id] = k
		if oldest := p.order.Front(); len(p.known) > p.remember && oldest != nil {
			k.victim = p.order.Remove(oldest).(*known)
			delete(p.known, k.victim.id)
		}
	}
	k.place, k.busy = nil, make(chan struct{})
	return k, nil, nil
}

// marks are those of the request's entry number i of n.
func (k *known) marks(i, n int) map[string]string {
	out := map[string]string{markPrefix + k.id: fmt.Sprintf("%x %d/%d %s", k.seq, i+1, n, k.digest)}
	if k.victim != nil {
		out[markPrefix+k.victim.id] = ""
	}
	return out
}

// finish ends what begin began: done entries of the request are safe now, which are all or not.
func (p *repeats) finish(k *known, done int, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k.done, k.whole = done, whole
	close(k.busy)
	k.busy = nil
	if v := k.victim; v != nil && done == 0 && p.known[v.id] == nil { // nobody wrote down that it is forgotten
		p.known[v.id] = v
		v.place = p.order.PushFront(v)
	}
	k.victim = nil
	if done == 0 {
		delete(p.known, k.id)
		return
	}
	k.place = p.order.PushBack(k)
}

// identify returns the id of a request and the digest of its body, once that was read; "" where it has no key.
func (r *Request) identify() (id, digest string) {
	if r.digest == nil {
		return "", ""
	}
	sum := r.digest.Sum(nil)
	key := r.key
	if key == "" {
		key = "body " + string(sum)
	} else {
		key = "key " + key
	}
	return keyOf(r.endpoint.Pattern, r.Client, key), hex.EncodeToString(sum[:8])
}

// keyed finds the request's key, and has the digest of its body taken where that is needed.
func (r *Request) keyed() {
	c := &r.source.config.Repeats
	if c.Remember == 0 {
		return
	}
	for _, h := range c.Headers {
		if r.key = r.HTTP.Header.Get(h); r.key != "" {
			break
		}
	}
	if r.key != "" || c.Body || r.endpoint.OnceByBody {
		r.digest = sha256.New()
	}
}
