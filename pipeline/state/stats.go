package state

import (
	"expvar"
	"time"
)

// counters add up since Open.
type counters struct {
	epochs, folds               uint64
	encoded, compressed, folded int64
	collected, dirTime          time.Time
}

// Stats tells what a Store has done since Open, and how far its folds are behind.
type Stats struct {
	Epochs, Folds uint64
	// Encoded is the size of the changes that were committed, Compressed what
	// was written of them, with the outbox, and Folded what folds wrote. In bytes.
	Encoded, Compressed, Folded int64
	// Disk is how many bytes went to the disk: logs, tables, and tables that
	// compactions wrote anew. Badger counts the tables of all stores of a process together.
	Disk int64
	// Unfolded epochs take UnfoldedBytes; the next start has to read them.
	Unfolded      int
	UnfoldedBytes int64
	Records       int64 // as of the last epoch
}

// Stats returns the figures as they are now.
func (s *Store) Stats() Stats {
	tables := tableBytes() - s.tablesBefore
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Epochs: s.spent.epochs, Folds: s.spent.folds, Encoded: s.spent.encoded, Compressed: s.spent.compressed, Folded: s.spent.folded,
		Disk: s.logged.Load() + tables, Unfolded: len(s.unfolded), Records: s.last.after.records}
	for _, m := range s.unfolded {
		st.UnfoldedBytes += m.size()
	}
	return st
}

// tableBytes is what Badger says it has written into tables.
func tableBytes() int64 {
	var n int64
	if v, ok := expvar.Get("badger_write_bytes_l0").(*expvar.Int); ok {
		n += v.Value()
	}
	if levels, ok := expvar.Get("badger_write_bytes_compaction").(*expvar.Map); ok {
		levels.Do(func(kv expvar.KeyValue) {
			if v, ok := kv.Value.(*expvar.Int); ok {
				n += v.Value()
			}
		})
	}
	return n
}
