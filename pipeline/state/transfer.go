package state

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// An export is a zstd stream of items. Each is a tag, the number of its
// fields, and the fields, each behind its length. The first is the header, the
// last the end, which counts the records, adds up their sums, and has the
// xxhash of all that stands before it. A reader passes over fields, and
// items with a small letter for a tag, that it does not know.
const (
	exportMagic   = "sluice state export"
	exportVersion = 1

	itemHeader   = 'H' // magic, version, epoch, time, first and next sequence number, accepted
	itemRecord   = 'R' // key, value
	itemEntry    = 'O' // sequence number, epoch, discarded, payload
	itemCursor   = 'C' // sink, sequence number
	itemEnd      = 'E' // records, sum, xxhash
	exportFields = 16  // no item has more fields

	maxNumber = 1 << 56 // of an epoch or an entry
)

// Export writes all that the state holds, for Import on another machine or by
// another version. What a View could not read is left out, and the error says so.
func (s *Store) Export(w io.Writer) error {
	z, err := zstd.NewWriter(w)
	if err != nil {
		return fmt.Errorf("exporting the state: %w", err)
	}
	e := &exporter{w: bufio.NewWriterSize(z, 1<<20), sum: xxhash.New()}
	damage := s.export(e)
	if damage != nil && !s.viewing {
		_ = z.Close() // damage says more
		return damage
	}
	err = e.w.Flush()
	if zerr := z.Close(); err == nil {
		err = zerr
	}
	if err == nil {
		err = e.err
	}
	if err != nil {
		return fmt.Errorf("exporting the state: %w", err)
	}
	return damage
}

// exporter writes items and sums them up.
type exporter struct {
	w   *bufio.Writer
	sum hash.Hash64
	err error // the first
	buf []byte
}

func (e *exporter) item(tag byte, fields ...[]byte) {
	e.buf = append(e.buf[:0], tag, byte(len(fields)))
	for _, f := range fields {
		e.buf = binary.AppendUvarint(e.buf, uint64(len(f)))
		e.buf = append(e.buf, f...)
	}
	_, _ = e.sum.Write(e.buf) // a hash takes everything
	if _, err := e.w.Write(e.buf); err != nil && e.err == nil {
		e.err = err
	}
}

func num(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// export returns what was damaged; errors of writing are in e.
func (s *Store) export(e *exporter) error {
	s.committing.Lock() // so that epochs, pages and outbox belong together
	defer s.committing.Unlock()
	s.folding.Lock()
	defer s.folding.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	s.outbox.mu.Lock()
	trim, accepted := s.outbox.trim, s.outbox.accepted
	s.outbox.mu.Unlock()
	e.item(itemHeader, []byte(exportMagic), num(exportVersion), num(s.Last()), num(uint64(s.last.at.UnixNano())), num(trim), num(s.NextSeq()), num(accepted))
	var got totals
	damage := s.loadAll(func(key, value []byte, sum Sum) error {
		got.records++
		got.sum += sum
		e.item(itemRecord, key, value)
		return e.err
	})
	for seq := trim; seq < s.NextSeq(); seq++ {
		entries, err := s.Outbox(seq, 1)
		if err != nil || len(entries) == 0 {
			damage = errors.Join(damage, s.tolerate(err))
			if err != nil && !s.viewing {
				return damage
			}
			entries = []StoredEntry{{Seq: seq, Discarded: true}} // its place remains
		}
		discarded := uint64(0)
		if entries[0].Discarded {
			discarded = 1
		}
		e.item(itemEntry, num(seq), num(entries[0].Epoch), num(discarded), entries[0].Payload)
	}
	for sink, seq := range s.Cursors() {
		e.item(itemCursor, []byte(sink), num(seq))
	}
	e.item(itemEnd, num(uint64(got.records)), num(uint64(got.sum)), num(e.sum.Sum64()))
	if damage == nil {
		damage = errors.Join(s.Problems()...)
	}
	return damage
}

// Import makes a state of an export, in a folder that is empty or absent.
// Entries of the outbox keep their numbers, but belong to the epoch that
// brings them now. An import that fails leaves nothing behind.
func Import(o Options, r io.Reader) error {
	dir := filepath.Clean(o.Dir)
	if err := importInto(o, dir, r); err != nil {
		return fmt.Errorf("importing a state into %q: %w", dir, err)
	}
	return nil
}

// importFolder is where a state is built before it takes its place. It is in
// the folder itself, which may be where a disk is mounted.
const importFolder = "import.new"

func importInto(o Options, dir string, r io.Reader) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := lockDir(dir, false)
	if err != nil {
		return err
	}
	o.Dir = filepath.Join(dir, importFolder)
	err = os.RemoveAll(o.Dir) // of an import that a crash ended
	if err == nil {
		err = isEmpty(dir)
	}
	if err == nil {
		err = importTo(o, r)
	}
	if err == nil {
		err = moveFiles(dir, o.Dir)
	}
	_ = os.RemoveAll(o.Dir) // err says more
	if lerr := lock.Release(); err == nil {
		err = lerr
	}
	return err
}

func isEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ignored(e.Name()) {
			return fmt.Errorf("the folder is not empty, it holds %q: reset the state there first, or name another folder", e.Name())
		}
	}
	return nil
}

// moveFiles moves the files of a state. The one that makes the folder a state comes last.
func moveFiles(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == formatFile {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	if err := syncDir(to); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(from, formatFile), filepath.Join(to, formatFile)); err != nil {
		return err
	}
	return syncDir(to)
}

func importTo(o Options, r io.Reader) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	s, err := Open(o)
	if err != nil {
		return err
	}
	err = s.Load(func(_, _ []byte, _ Sum) error { return nil })
	if err == nil {
		i := importer{s: s, r: bufio.NewReaderSize(z, 1<<20), sum: xxhash.New()}
		err = i.all()
	}
	if err == nil { // a record that comes twice would only show now
		err = s.Load(func(_, _ []byte, _ Sum) error { return nil })
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// importer reads items into a new store.
type importer struct {
	s   *Store
	r   *bufio.Reader
	sum hash.Hash64

	header    bool
	got       totals
	epoch     Epoch
	size      int
	discarded []uint64
	cursors   map[string]uint64
	accepted  uint64
}

// importBytes is about how much is committed at once.
const importBytes = 64 << 20

func (i *importer) all() error {
	i.cursors = make(map[string]uint64)
	for {
		before := i.sum.Sum64()
		tag, fields, err := i.item()
		if err != nil {
			return fmt.Errorf("the export is cut short or damaged: %w", err)
		}
		if !i.header && tag != itemHeader {
			return errors.New("this is no export of a state")
		}
		switch tag {
		case itemHeader:
			err = i.begin(fields)
		case itemRecord:
			err = i.record(fields)
		case itemEntry:
			err = i.entry(fields)
		case itemCursor:
			err = i.cursor(fields)
		case itemEnd:
			if !ends(fields, i.got, before) {
				return errors.New("the export is damaged: its sums are not those of its records")
			}
			return i.finish()
		default:
			if tag < 'a' || tag > 'z' {
				err = fmt.Errorf("the export holds %q, which this program does not know: a newer version wrote it", tag)
			}
		}
		if err != nil {
			return err
		}
		if i.size > importBytes {
			if err := i.commit(); err != nil {
				return err
			}
		}
	}
}

// item reads an item.
func (i *importer) item() (tag byte, fields [][]byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(i.r, head); err != nil {
		return 0, nil, noEOF(err)
	}
	_, _ = i.sum.Write(head)
	if head[1] > exportFields {
		return 0, nil, errTorn
	}
	for range head[1] {
		n, err := binary.ReadUvarint(i.r)
		if err != nil {
			return 0, nil, noEOF(err)
		}
		if n > maxRaw {
			return 0, nil, errTorn
		}
		_, _ = i.sum.Write(binary.AppendUvarint(nil, n))
		f, err := readN(i.r, int(n))
		if err != nil {
			return 0, nil, noEOF(err)
		}
		_, _ = i.sum.Write(f)
		fields = append(fields, f)
	}
	return head[0], fields, nil
}

// readN reads n bytes, asking for memory only as they come.
func readN(r io.Reader, n int) ([]byte, error) {
	const step = 1 << 20
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		at := len(b)
		b = append(b, make([]byte, min(step, n-at))...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fieldNum reads a number out of a field.
func fieldNum(fields [][]byte, at int) uint64 {
	if at >= len(fields) {
		return 0
	}
	r := reader{b: fields[at]}
	return r.uvarint()
}

func ends(fields [][]byte, got totals, sum uint64) bool {
	return len(fields) >= 3 && fieldNum(fields, 0) == uint64(got.records) && fieldNum(fields, 1) == uint64(got.sum) && fieldNum(fields, 2) == sum
}

// begin makes the new state one whose epochs and entries go on behind those of the old.
func (i *importer) begin(fields [][]byte) error {
	if len(fields) < 7 || string(fields[0]) != exportMagic || i.header {
		return errors.New("this is no export of a state")
	}
	if v := fieldNum(fields, 1); v > exportVersion {
		return fmt.Errorf("the export has version %d, this program reads versions up to %d", v, exportVersion)
	}
	if fieldNum(fields, 2) >= maxNumber || fieldNum(fields, 4) >= maxNumber || fieldNum(fields, 5) >= maxNumber {
		return errors.New("the export is damaged: its epochs or entries have numbers that none can have")
	}
	i.header = true
	trim := max(fieldNum(fields, 4), 1)
	i.accepted = fieldNum(fields, 6)
	s := i.s
	m := marker{epoch: fieldNum(fields, 2), at: time.Unix(0, int64(fieldNum(fields, 3))), next: trim}
	b := s.newBatch()
	defer b.discard()
	key := []byte{keyFolded}
	if err := b.set(key, sealed(key, m.encodeHead())); err != nil {
		return err
	}
	if err := setNumber(b, []byte{keyTrim}, trim); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	s.mu.Lock()
	s.last, s.folded = m, m.epoch
	s.mu.Unlock()
	s.outbox.mu.Lock()
	s.outbox.trim = trim
	s.outbox.mu.Unlock()
	s.outbox.next.Store(trim)
	i.epoch.Parts = []*Writer{{}}
	return nil
}

func (i *importer) record(fields [][]byte) error {
	if len(fields) < 2 || len(fields[0]) == 0 {
		return errTorn
	}
	i.got.records++
	i.got.sum += i.epoch.Parts[0].Put(fields[0], fields[1], 0)
	i.size += len(fields[0]) + len(fields[1])
	return nil
}

func (i *importer) entry(fields [][]byte) error {
	seq := i.s.NextSeq() + uint64(len(i.epoch.Outbox))
	if len(fields) < 4 || fieldNum(fields, 0) != seq {
		return fmt.Errorf("the export lacks entry %d of the outbox", seq)
	}
	if fieldNum(fields, 2) != 0 {
		i.discarded = append(i.discarded, seq)
	}
	i.epoch.Outbox = append(i.epoch.Outbox, Entry{Payload: fields[3]})
	i.size += len(fields[3])
	return nil
}

func (i *importer) cursor(fields [][]byte) error {
	if len(fields) < 2 {
		return errTorn
	}
	i.cursors[string(fields[0])] = fieldNum(fields, 1)
	return nil
}

func (i *importer) commit() error {
	_, err := i.s.Commit(context.Background(), &i.epoch)
	i.epoch = Epoch{Parts: []*Writer{{}}}
	i.size = 0
	return err
}

func (i *importer) finish() error {
	if err := i.commit(); err != nil {
		return err
	}
	if err := i.s.Discard(i.discarded); err != nil {
		return err
	}
	for sink, seq := range i.cursors {
		if err := i.s.SetCursor(sink, seq); err != nil {
			return err
		}
	}
	return i.s.SetAccepted(i.accepted)
}
