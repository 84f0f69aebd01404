package state

import (
	"encoding/binary"
	"errors"
	"sync"
)

// NumberKind says what a number of the Dictionary stands for.
type NumberKind byte

// The kinds of numbers.
const (
	NumberPartition  NumberKind = 'p' // source, topic and id of a partition
	NumberField      NumberKind = 'f' // namespace and name of an event's field
	NumberGroup      NumberKind = 'g' // name and filter of the scenarios that share buckets
	NumberDefinition NumberKind = 'd' // the hash of a scenario document
	NumberStash      NumberKind = 't' // name of a stash
)

// Dictionary gives numbers, from 1, to names that many records hold. It is
// safe for concurrent use. A number that was given before a barrier's parts
// were all written is durable with that barrier's epoch.
type Dictionary struct {
	mu      sync.RWMutex
	numbers map[string]uint32 // by kind and name
	names   []string          // by number less one
	saved   int               // how many of names a Writer has taken
}

// NewDictionary returns an empty dictionary.
func NewDictionary() *Dictionary { return &Dictionary{numbers: make(map[string]uint32)} }

// Number returns the number of a name, giving it one if it has none.
func (d *Dictionary) Number(kind NumberKind, name string) uint32 {
	full := string(kind) + name
	d.mu.RLock()
	n := d.numbers[full]
	d.mu.RUnlock()
	if n != 0 {
		return n
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.numbers[full]; n != 0 {
		return n
	}
	d.names = append(d.names, full)
	n = uint32(len(d.names))
	d.numbers[full] = n
	return n
}

// Name returns what a number stands for; ok is false when it was never given
// to a name of that kind.
func (d *Dictionary) Name(kind NumberKind, n uint32) (name string, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if n == 0 || int(n) > len(d.names) || d.names[n-1][0] != byte(kind) {
		return "", false
	}
	return d.names[n-1][1:], true
}

// Save writes the numbers given since the last Save. The store calls it once
// all other parts of an epoch are written.
func (d *Dictionary) Save(w *Writer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var key []byte
	for ; d.saved < len(d.names); d.saved++ {
		key = binary.AppendUvarint(append(key[:0], byte(KindNumber)), uint64(d.saved+1))
		w.Put(key, []byte(d.names[d.saved]), 0)
	}
}

// taken returns how many numbers a Writer has taken, and takenBack that many
// only: for an epoch that could not be written.
func (d *Dictionary) taken() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.saved
}

func (d *Dictionary) takenBack(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saved = n
}

// Load takes one saved number back. Records may come in any order; the last
// call is Loaded.
func (d *Dictionary) Load(key, value []byte) error {
	n, size := binary.Uvarint(key[1:])
	if size <= 0 || n == 0 || n > 1<<31 || len(value) == 0 {
		return errors.New("the dictionary holds a number that is none")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for uint64(len(d.names)) < n {
		d.names = append(d.names, "")
	}
	d.names[n-1] = string(value)
	d.numbers[string(value)] = uint32(n)
	return nil
}

// Loaded checks that no number is missing and regards all as saved.
func (d *Dictionary) Loaded() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range d.names {
		if name == "" {
			return errors.New("the dictionary has a gap: a part of it is lost")
		}
	}
	d.saved = len(d.names)
	return nil
}
