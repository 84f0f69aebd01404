package decide

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// The ledger is written into the state store value by value, as it changes.
// The keys of its records are, behind the kind, 0 for the clock, and 1 and
// the value for what was decided about a value.

const (
	// ledgerVersion is the first byte of every record's value.
	ledgerVersion = 1

	recordClock = 0
	recordValue = 1
)

// ledgerSaving is what a ledger knows of its records.
type ledgerSaving struct {
	changed []changedValue
	gone    []changedValue // forgotten, with their sums
	now     time.Time      // in the store
	sum     state.Sum
	waiting []changedValue // loaded, until Loaded
	key     []byte
	value   []byte
}

type changedValue struct {
	value string
	*decided
}

// Durable makes Save write what changes from now on.
func (l *Ledger) Durable() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.saving = &ledgerSaving{}
}

// mark says that a value has changed.
func (l *Ledger) mark(value string, v *decided) {
	if l.saving != nil && !v.changed {
		v.changed = true
		l.saving.changed = append(l.saving.changed, changedValue{value, v})
	}
}

// forgot is called for a value that made room for another.
func (l *Ledger) forgot(value string, v *decided) {
	if l.saving == nil {
		return
	}
	v.changed = false // what is listed and not marked is stale
	if v.sum != 0 {
		l.saving.gone = append(l.saving.gone, changedValue{value, v})
	}
}

// Save writes what has changed since the last Save.
func (l *Ledger) Save(w *state.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.saving
	if s == nil {
		return
	}
	if !l.now.Equal(s.now) {
		s.now = l.now
		s.value = pipeline.AppendTime(append(s.value[:0], ledgerVersion), l.now.UTC(), 0)
		s.sum = w.Put([]byte{byte(state.KindDecisions), recordClock}, s.value, s.sum)
	}
	for _, v := range s.gone { // before the others: a value may have come back
		w.Delete(s.keyOf(v.value), v.sum)
	}
	for _, v := range s.changed {
		if v.changed {
			v.changed = false
			s.value = appendDecided(s.value[:0], v.decided)
			v.sum = w.Put(s.keyOf(v.value), s.value, v.sum)
		}
	}
	clear(s.gone)
	clear(s.changed)
	s.gone, s.changed = s.gone[:0], s.changed[:0]
}

func (s *ledgerSaving) keyOf(value string) []byte {
	s.key = append(append(s.key[:0], byte(state.KindDecisions), recordValue), value...)
	return s.key
}

func appendDecided(to []byte, v *decided) []byte {
	to = binary.AppendUvarint(append(to, ledgerVersion), v.order)
	to = binary.AppendUvarint(to, uint64(len(v.entries)))
	base := int64(0)
	for _, e := range v.entries {
		to = pipeline.AppendTime(to, e.made.UTC(), base)
		to = pipeline.AppendTime(to, e.until.UTC(), e.made.Unix())
		base = e.made.Unix()
	}
	return to
}

func readDecided(r *pipeline.StoredReader) *decided {
	if r.Byte() != ledgerVersion {
		r.Fail(pipeline.ErrCut)
	}
	v := &decided{order: r.Uvarint()}
	base := int64(0)
	for n := r.Count(4); n > 0 && r.Err() == nil; n-- {
		e := entry{made: r.Time(base)}
		base = e.made.Unix()
		e.until = r.Time(base)
		v.entries = append(v.entries, e)
	}
	return v
}

// Load takes one record back, after Durable. After the last comes Loaded.
func (l *Ledger) Load(key, value []byte, sum state.Sum) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.saving
	if s == nil || len(key) < 2 || state.Kind(key[0]) != state.KindDecisions {
		return errors.New("loading decisions: the record is none of theirs, or nobody saves them")
	}
	r := pipeline.NewStoredReader(value)
	switch key[1] {
	case recordClock:
		if r.Byte() != ledgerVersion {
			r.Fail(pipeline.ErrCut)
		}
		l.now, s.sum = r.Time(0), sum
		s.now = l.now
	case recordValue:
		v := readDecided(&r)
		v.sum = sum
		s.waiting = append(s.waiting, changedValue{string(key[2:]), v})
	default:
		r.Fail(pipeline.ErrCut)
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("loading the record %q of decisions: %w", key, err)
	}
	return nil
}

// Loaded ends loading: values come in by their latest decision.
func (l *Ledger) Loaded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.saving
	if s == nil {
		return
	}
	slices.SortFunc(s.waiting, func(a, b changedValue) int { return cmp.Compare(a.order, b.order) })
	for _, v := range s.waiting {
		l.decisions = max(l.decisions, v.order)
		l.values.Add(v.value, v.decided)
	}
	s.waiting = nil
}
