package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Entry goes into the outbox with its epoch.
type Entry struct {
	Payload []byte
}

// Epoch is what changed between two barriers.
type Epoch struct {
	// Parts hold the changed records. Where a record is in two of them, the
	// change in the later one counts: a graph that begins drops the record of a bucket whose
	// scenario was redefined, and may write another under the same key.
	Parts []*Writer
	// Outbox is appended to the outbox, in this order.
	Outbox []Entry
}

// Committed tells what a Commit made durable.
type Committed struct {
	Epoch uint64
	// Encoded is the size of all changes in bytes; Bytes is what of it, compressed, and of the outbox was written.
	Encoded, Bytes int64
	// FirstSeq <= sequence number < NextSeq are the epoch's entries of the outbox.
	FirstSeq, NextSeq uint64
}

// Commit makes an epoch durable: when it returns without an error, the epoch
// will be there after any crash, and whole. After a *SpaceError, or when ctx
// ended, nothing of it is, and the same epoch may be committed again; after
// any other error the state must be opened anew. The Parts are not changed.
// Nothing is committed before Load has returned without an error.
func (s *Store) Commit(ctx context.Context, e *Epoch) (Committed, error) {
	s.committing.Lock()
	defer s.committing.Unlock()
	if err := s.mutable(); err != nil {
		return Committed{}, err
	}
	s.mu.Lock()
	last, loaded, failed := s.last, s.loaded, s.failed
	s.mu.Unlock()
	if !loaded {
		return Committed{}, errNotLoaded
	}
	if failed != nil {
		return Committed{}, failed
	}
	m := marker{epoch: last.epoch + 1, at: s.options.Clock.Now(), after: last.after, next: last.next + uint64(len(e.Outbox))}
	taken := s.dictionary.taken()
	done, err := s.commit(ctx, e, &m)
	if err != nil {
		s.dictionary.takenBack(taken)
		var space *SpaceError
		if ctx.Err() == nil && !errors.As(err, &space) {
			s.fail(err)
		}
		return Committed{}, err
	}
	if m.epoch == 1 {
		// From here on a state in which nothing is found has lost something: it
		// is no new one, which would begin where the group stands.
		if err := writeFloor(s.options.Dir, s.options.MemTable, m.epoch); err != nil {
			s.fail(err)
			return Committed{}, err
		}
	}
	done.FirstSeq = last.next
	s.committed(&m, done)
	return done, nil
}

func (s *Store) commit(ctx context.Context, e *Epoch, m *marker) (Committed, error) {
	var numbers Writer
	s.dictionary.Save(&numbers)
	s.gather.reset(e.Parts)
	for _, w := range append(e.Parts[:len(e.Parts):len(e.Parts)], &numbers) {
		m.after.sum += w.change
		m.after.records += int64(w.records)
		if err := s.gather.add(w); err != nil {
			return Committed{}, err
		}
	}
	raws := s.gather.chunks()
	values, err := s.compress(ctx, m, raws)
	if err != nil {
		return Committed{}, err
	}
	if err := s.roomFor(m, e); err != nil {
		return Committed{}, err
	}
	b := s.newBatch()
	defer b.discard()
	for i, v := range values {
		if err := b.set(chunkKey(m.epoch, i), v); err != nil {
			return Committed{}, err
		}
		values[i] = nil
	}
	if err := s.writeOutbox(b, m, e.Outbox); err != nil {
		return Committed{}, err
	}
	if err := b.flush(); err != nil {
		return Committed{}, err
	}
	if err := ctx.Err(); err != nil { // the last moment to turn back
		return Committed{}, fmt.Errorf("committing epoch %d: %w", m.epoch, err)
	}
	if err := s.writeMarker(b, m); err != nil {
		s.fail(err) // whether the marker is on the disk, only the next Open can tell
		return Committed{}, err
	}
	return Committed{Epoch: m.epoch, Encoded: m.raw(), Bytes: b.wrote, NextSeq: m.next}, nil
}

func (s *Store) writeMarker(b *batch, m *marker) error {
	key := markerKey(m.epoch)
	if err := b.set(key, sealed(key, m.encode())); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	return s.syncNames()
}

// fail makes every later Commit return err.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// compress packs an epoch's chunks side by side and lists them in its marker.
func (s *Store) compress(ctx context.Context, m *marker, raws []rawChunk) ([][]byte, error) {
	values := make([][]byte, len(raws))
	m.chunks = make([]chunkRef, len(raws))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.options.Workers)
	for i, raw := range raws {
		group.Go(func() error {
			key := chunkKey(m.epoch, i)
			values[i] = pack(key, raw.b)
			m.chunks[i] = chunkRef{low: raw.low, high: raw.high, sum: binary.LittleEndian.Uint64(values[i]), size: len(values[i]) - sealBytes, raw: len(raw.b)}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("committing epoch %d: %w", m.epoch, err)
	}
	return values, nil
}

// committed takes note of a durable epoch, and wakes the fold if it is due.
func (s *Store) committed(m *marker, done Committed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = marker{epoch: m.epoch, at: m.at, after: m.after, next: m.next}
	s.unfolded = append(s.unfolded, m)
	s.spent.epochs++
	s.spent.encoded += done.Encoded
	s.spent.compressed += done.Bytes
	s.outbox.next.Store(m.next)
	if s.foldDue() {
		select {
		case s.wake <- struct{}{}:
		default: // it knows
		}
	}
}

// rawChunk is a chunk before it is compressed.
type rawChunk struct {
	low, high int
	b         []byte
}

// gatherer deals changes to chunks by slots. Its memory is used again for the next epoch.
type gatherer struct {
	groups [][]rawChunk // by range of slots; the dictionary's is the last
	free   [][]byte
}

// groupBytes is how large a range of slots' part of an epoch should at least
// be: a small epoch is not worth many chunks.
const groupBytes = 64 << 10

// reset prepares for parts of some size.
func (g *gatherer) reset(parts []*Writer) {
	for _, group := range g.groups {
		for _, c := range group {
			g.free = append(g.free, c.b[:0])
		}
	}
	var total int
	for _, w := range parts {
		total += w.bytes
	}
	n := 1
	for n < hashSlots && total/n > groupBytes {
		n *= 2
	}
	g.groups = make([][]rawChunk, n+1)
}

// add deals one part.
func (g *gatherer) add(w *Writer) error {
	n := len(g.groups) - 1
	for _, c := range w.chunks {
		for len(c) > 0 {
			o, rest, err := nextOp(c)
			if err != nil {
				return err
			}
			c = rest
			slot := slotOf(o.key, hashOf(o.key))
			i := slot * n / hashSlots // the dictionary's slot is n
			group := g.groups[i]
			if len(group) == 0 || len(group[len(group)-1].b)+len(o.encoded) > chunkBytes {
				low, high := i*hashSlots/n, (i+1)*hashSlots/n
				if slot == dictionarySlot {
					low, high = dictionarySlot, slots
				}
				group = append(group, rawChunk{low: low, high: high, b: g.buffer(len(o.encoded))})
				g.groups[i] = group
			}
			last := &group[len(group)-1]
			last.b = append(last.b, o.encoded...)
		}
	}
	return nil
}

func (g *gatherer) buffer(more int) []byte {
	if n := len(g.free); n > 0 {
		b := g.free[n-1]
		g.free = g.free[:n-1]
		return b
	}
	return make([]byte, 0, max(more, groupBytes))
}

// chunks lists what was dealt. It is valid until the next reset.
func (g *gatherer) chunks() []rawChunk {
	var all []rawChunk
	for _, group := range g.groups {
		all = append(all, group...)
	}
	return all
}
