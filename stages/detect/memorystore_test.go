package detect

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"sluice/pipeline/state"
)

// memory is a store that holds its records in a map.
type memory struct {
	values map[string][]byte
	sums   map[string]state.Sum
	epoch  uint64
	// folded is what Get sees: an epoch that may be behind.
	folded      *memory
	foldedEpoch uint64
	fail        error
}

// fold lets Get see all.
func (m *memory) fold() {
	m.folded = &memory{values: maps.Clone(m.values), sums: maps.Clone(m.sums)}
	m.foldedEpoch = m.epoch
}

// Get and Folded implement Cold.
func (m *memory) Get(key, buf []byte) ([]byte, state.Sum, bool, error) {
	if m.folded == nil || m.fail != nil {
		return buf, 0, false, m.fail
	}
	value, ok := m.folded.values[string(key)]
	return append(buf, value...), m.folded.sums[string(key)], ok, nil
}

func (m *memory) Folded() uint64 { return m.foldedEpoch }

func newMemory() *memory {
	return &memory{values: map[string][]byte{}, sums: map[string]state.Sum{}}
}

// write makes an epoch of Writers, as the store does.
func (m *memory) write(t testing.TB, writers []*state.Writer) {
	m.epoch++
	for _, w := range writers {
		err := w.Each(func(key, value []byte) error {
			m.values[string(key)], m.sums[string(key)] = slices.Clone(value), state.SumOf(key, value)
			return nil
		}, func(key []byte) error {
			if _, ok := m.values[string(key)]; !ok {
				t.Errorf("%q is deleted and was not there", key)
			}
			delete(m.values, string(key))
			delete(m.sums, string(key))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// describe describes what is stored and not dead.
func (m *memory) describe(t testing.TB, dict *state.Dictionary) string {
	t.Helper()
	d := NewDescriber(dict)
	var all []string
	add := func(r any, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if line, _ := json.Marshal(r); string(line) != "null" {
			all = append(all, string(line))
		}
	}
	for _, kind := range []state.Kind{state.KindShardClock, state.KindBlackhole, state.KindBucket} {
		for k, v := range m.values {
			switch key := []byte(k); {
			case state.Kind(k[0]) != kind:
			case kind == state.KindShardClock:
				add(d.Clock(key, v))
			case kind == state.KindBlackhole:
				add(d.Blackhole(key, v))
			default:
				add(d.Bucket(key, v))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
