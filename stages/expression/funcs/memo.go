package funcs

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// maxPaths bounds what a table remembers of each kind, should an expression
// make its arguments up. The hub's rules hold some 200 paths and ranges.
const maxPaths = 1024

// memo remembers what was made of a string, up to limit strings; beyond it,
// values are made anew each time. It is for strings that rules hold, such as
// paths and address ranges: reads take no lock and allocate nothing.
type memo[V any] struct {
	make  func(string) V
	limit int

	entries atomic.Pointer[map[string]V] // never written to once stored
	mu      sync.Mutex                   // one writer at a time
}

func newMemo[V any](limit int, f func(string) V) *memo[V] {
	m := &memo[V]{make: f, limit: limit}
	m.entries.Store(&map[string]V{})
	return m
}

func (m *memo[V]) get(key string) V {
	if v, ok := (*m.entries.Load())[key]; ok {
		return v
	}
	v := m.make(strings.Clone(key))
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.entries.Load()
	if len(old) >= m.limit {
		return v
	}
	grown := make(map[string]V, len(old)+1)
	maps.Copy(grown, old)
	grown[strings.Clone(key)] = v
	m.entries.Store(&grown)
	return v
}
