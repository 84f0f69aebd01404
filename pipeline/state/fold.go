package state

import (
	"context"
	"encoding/binary"
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// foldDue says whether enough epochs have gathered; s.mu is held. A small
// state is folded after FoldBytes; a large one when what gathered is a good
// share of it, since nearly every page may have to be written anew.
func (s *Store) foldDue() bool {
	var gathered int64
	for _, m := range s.unfolded {
		gathered += m.size()
	}
	due := max(s.options.FoldBytes, int64(s.options.FoldShare*float64(s.pages.bytes.Load())))
	return len(s.unfolded) >= s.options.FoldEpochs || gathered >= due
}

// foldLoop folds whenever Commit says that it is time.
func (s *Store) foldLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		if err := s.Fold(ctx); err != nil && ctx.Err() == nil {
			s.fail(err)
			s.options.Log.Error("folding epochs failed: nothing is committed any more", "error", err)
		}
		s.collectGarbage()
	}
}

// collectGarbage lets Badger look through its value log. The log is empty, as
// every value is smaller than Badger's threshold for it: this is for the day
// on which that changes.
func (s *Store) collectGarbage() {
	now := s.options.Clock.Now()
	s.mu.Lock()
	due := now.Sub(s.spent.collected) > 10*time.Minute
	if due {
		s.spent.collected = now
	}
	s.mu.Unlock()
	if due {
		for s.db.RunValueLogGC(0.5) == nil {
			continue
		}
	}
}

// Fold brings all epochs that are whole by now into pages, where Get finds
// their records. It is done in the background when it is worth it; whoever
// needs a record to be readable sooner calls it.
//
// A fold that is cut short does no harm: it writes what the epochs that it
// folds would bring anyway, and they stay until all of it is written.
func (s *Store) Fold(ctx context.Context) error {
	s.folding.Lock()
	defer s.folding.Unlock()
	if err := s.mutable(); err != nil {
		return err
	}
	s.mu.Lock()
	epochs, loaded := s.unfolded[:len(s.unfolded):len(s.unfolded)], s.loaded
	s.mu.Unlock()
	if !loaded {
		return errNotLoaded
	}
	if len(epochs) == 0 {
		return nil
	}
	var raw int64
	for _, m := range epochs {
		raw += m.raw()
	}
	w := pageWriter{s: s, batch: s.newBatch()}
	defer w.batch.discard()
	if err := w.clean(); err != nil {
		return err
	}
	for _, of := range spansFor(raw, 1) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.fold(epochs, of); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	return s.foldedTo(w.batch, epochs)
}

// foldedTo makes the fold of some epochs known, and then removes their chunks.
func (s *Store) foldedTo(b *batch, epochs []*marker) error {
	last := epochs[len(epochs)-1]
	key := []byte{keyFolded}
	if err := b.set(key, sealed(key, last.encodeHead())); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	if err := s.syncNames(); err != nil {
		return err
	}
	if err := writeFloor(s.options.Dir, s.options.MemTable, last.epoch); err != nil {
		return err
	}
	s.mu.Lock()
	s.folded = last.epoch
	s.unfolded = append([]*marker(nil), s.unfolded[len(epochs):]...)
	s.spent.folds++
	s.spent.folded += b.wrote
	s.mu.Unlock()
	for _, m := range epochs {
		if err := b.delete(markerKey(m.epoch)); err != nil {
			return err
		}
		for i, ref := range m.chunks {
			if err := b.delete(chunkKey(m.epoch, i)); err != nil {
				return err
			}
			if ref.size+sealBytes > valueBytes {
				if err := b.deletePieces(ref.sum, piecesOf(uint64(ref.size))); err != nil {
					return err
				}
			}
		}
	}
	return b.flush()
}

// pageWriter writes pages, and brings the index up to date once they are synced.
type pageWriter struct {
	s       *Store
	batch   *batch
	pending []pageChange
	size    int64 // of what is pending
	scratch scratch
}

type pageChange struct {
	slot  int
	first uint64
	value []byte // nil removes the page
	// blob and pieces are of what was there before, if it was in pieces.
	blob   uint64
	pieces int
}

// fold brings the changes of a span into its pages.
func (w *pageWriter) fold(epochs []*marker, of span) error {
	txn := w.s.db.NewTransaction(false)
	defer txn.Discard()
	ops, err := w.s.changes(txn, &w.scratch, epochs, of)
	if err != nil {
		return err
	}
	for slot := of.low; slot < of.high && len(ops) > 0; slot++ {
		for _, p := range w.s.pages.of(slot) { // only folds change the index
			n := 0
			for n < len(ops) && ops[n].hash <= p.last {
				n++
			}
			if n == 0 {
				continue
			}
			if err := w.rewrite(txn, p, ops[:n]); err != nil {
				return err
			}
			ops = ops[n:]
		}
	}
	return nil
}

// clean rewrites the pages that hold more than they cover, so that no page
// after them that becomes empty lets their leftovers count again.
func (w *pageWriter) clean() error {
	if len(w.s.pages.stale) == 0 {
		return nil
	}
	txn := w.s.db.NewTransaction(false)
	defer txn.Discard()
	for slot := range slots {
		for _, p := range w.s.pages.of(slot) {
			if w.s.pages.stale[pageID{slot, p.first}] {
				if err := w.rewrite(txn, p, nil); err != nil {
					return err
				}
			}
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.s.pages.stale = nil
	return nil
}

// rewrite writes a page with some changes, as one page or more.
func (w *pageWriter) rewrite(txn *badger.Txn, p page, ops []op) error {
	var raw []byte
	if p.exists {
		var err error
		if raw, err = w.s.readPage(txn, p.slot, p.first, w.scratch.page); err != nil {
			return err
		}
		w.scratch.page = raw
	}
	parts := &w.scratch.parts
	parts.cuts, parts.raw = parts.cuts[:0], parts.raw[:0]
	if _, err := merge(p, raw, ops, false, parts.add); err != nil { // the page's seal was checked
		return w.s.damagedPage(p.slot, p.first, err)
	}
	changes := parts.pages(p)
	if len(changes) > 0 && p.exists {
		var err error
		if changes[0].blob, changes[0].pieces, err = blobAt(txn, pageKey(p.slot, p.first)); err != nil {
			return err
		}
	}
	for i := range changes {
		if c := &changes[i]; c.value != nil {
			c.value = pack(pageKey(c.slot, c.first), c.value)
		}
	}
	return w.add(changes)
}

// add writes the changes of one page's range, the last page first: should a
// crash come in between, the first still holds what the others would.
func (w *pageWriter) add(changes []pageChange) error {
	for i := len(changes) - 1; i >= 0; i-- {
		w.pending = append(w.pending, changes[i])
		w.size += int64(len(changes[i].value)) + 128
	}
	if w.size >= w.s.db.MaxBatchSize()/2 {
		return w.flush()
	}
	return nil
}

// flush writes what is pending.
func (w *pageWriter) flush() error {
	x := &w.s.pages
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range w.pending {
		key := pageKey(c.slot, c.first)
		var err error
		if c.value == nil {
			err = w.batch.delete(key)
		} else {
			err = w.batch.set(key, c.value)
		}
		if err != nil {
			return err
		}
	}
	if err := w.batch.flush(); err != nil {
		return err
	}
	for _, c := range w.pending {
		if c.pieces > 0 && (c.value == nil || binary.LittleEndian.Uint64(c.value) != c.blob) {
			if err := w.batch.deletePieces(c.blob, c.pieces); err != nil {
				return err
			}
		}
		if c.value == nil {
			x.remove(c.slot, c.first)
		} else {
			x.put(c.slot, c.first, int64(len(c.value)))
		}
	}
	w.pending, w.size = nil, 0
	return nil
}

// splitter gathers a page's records into pages of a good size. Records of one hash stay together.
type splitter struct {
	hash uint64 // of the last record
	cuts []cut
	raw  []byte
}

// cut says where in raw a page could begin.
type cut struct {
	at    int
	first uint64
}

func (s *splitter) add(r record) error {
	if start := s.start(); len(s.raw)-start >= pageBytes && r.hash != s.hash {
		s.cuts = append(s.cuts, cut{len(s.raw), r.hash})
	}
	s.hash = r.hash
	s.raw = appendRecord(s.raw, r)
	return nil
}

func (s *splitter) start() int {
	if len(s.cuts) == 0 {
		return 0
	}
	return s.cuts[len(s.cuts)-1].at
}

// pages returns what becomes of a page: nothing when it neither was nor is, or
// a removal when no record is left. Values are raw.
func (s *splitter) pages(p page) []pageChange {
	if len(s.raw) == 0 {
		if !p.exists {
			return nil
		}
		return []pageChange{{slot: p.slot, first: p.first}}
	}
	if len(s.raw) < pageSplit {
		return []pageChange{{slot: p.slot, first: p.first, value: s.raw}}
	}
	var out []pageChange
	first, at := p.first, 0
	for _, c := range s.cuts {
		if len(s.raw)-c.at < pageBytes/2 {
			break // too little for a page of its own
		}
		out = append(out, pageChange{slot: p.slot, first: first, value: s.raw[at:c.at]})
		first, at = c.first, c.at
	}
	return append(out, pageChange{slot: p.slot, first: first, value: s.raw[at:]})
}
