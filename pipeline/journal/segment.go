package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// segment is one file of a journal.
type segment struct {
	number uint64
	path   string
	size   int64            // of what is synced
	filled bool             // there is something behind its head
	ends   map[Stream]int64 // offset behind the last record of each stream that has records here
}

const suffix = ".journal"

func segmentName(number uint64, id identity) string {
	return fmt.Sprintf("%016x-%x%s", number, id, suffix)
}

// parseName reads a segment's name; false for files of other kinds.
func parseName(name string) (number uint64, id identity, ok bool) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok || len(base) != 33 || base[16] != '-' {
		return 0, id, false
	}
	number, err := strconv.ParseUint(base[:16], 16, 64)
	if err != nil {
		return 0, id, false
	}
	if _, err := hex.Decode(id[:], []byte(base[17:])); err != nil {
		return 0, id, false
	}
	return number, id, true
}

// head is what a segment's first block says: the journal as it is before the
// segment's first record.
type head struct {
	number uint64
	first  int64
	jump   bool // offsets before first, up to where the segment before ends, were never given
	marks  map[string]string
	ends   map[Stream]int64
}

const formatVersion = 1

func (h *head) append(to []byte, id identity) []byte {
	at := len(to)
	to = append(to, make([]byte, headerBytes)...)
	to = append(to, formatVersion)
	to = binary.AppendUvarint(to, h.number)
	jump := byte(0)
	if h.jump {
		jump = 1
	}
	to = append(to, jump)
	to = new(encoder).pairs(to, h.marks)
	to = binary.AppendUvarint(to, uint64(len(h.ends)))
	for _, s := range slices.SortedFunc(maps.Keys(h.ends), compareStreams) {
		to = appendString(to, s.Topic)
		to = binary.AppendVarint(to, int64(s.ID))
		to = binary.AppendUvarint(to, uint64(h.ends[s]))
	}
	seal(to[at:], id, magicHead, h.first, 0)
	return to
}

func compareStreams(a, b Stream) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(int64(a.ID) - int64(b.ID))
}

// parseHead reads a head's body.
func parseHead(first int64, body []byte) (*head, error) {
	d := decoder{b: body}
	if v := d.take(1); !d.bad && v[0] != formatVersion {
		return nil, fmt.Errorf("it is of format %d, and this program knows format %d; use the program that wrote it", v[0], formatVersion)
	}
	h := &head{number: d.uvarint(), first: first, ends: make(map[Stream]int64)}
	jump := d.take(1)
	h.jump = len(jump) == 1 && jump[0] == 1
	if h.marks = d.pairs(); h.marks == nil {
		h.marks = make(map[string]string)
	}
	for range d.count(3) {
		s := Stream{Topic: string(d.bytes()), ID: int32(d.varint())}
		h.ends[s] = int64(d.uvarint())
	}
	if d.bad || len(d.b) > 0 {
		return nil, errFrame
	}
	return h, nil
}

// scanned is what a segment was found to hold.
type scanned struct {
	head  *head            // nil when not even that is whole
	ends  map[Stream]int64 // of the streams with records here
	marks map[string]string
	next  int64 // offset behind the last record
	size  int64 // of the blocks that are whole
	// filled says that there are blocks behind the head.
	filled bool
	// wrong says why the bytes behind size are no block, and follows where one lies behind
	// them, -1 when none does.
	wrong   error
	follows int64
}

// window reads a file in larger pieces.
type window struct {
	file File
	size int64
	buf  []byte
	at   int64 // of buf in the file
}

const windowBytes = 1 << 20

// bytes returns n bytes at a place of the file, fewer where the file ends. They are
// valid until the next call.
func (w *window) bytes(at int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-at))
	if at < w.at || at+int64(n) > w.at+int64(len(w.buf)) {
		want := int(min(int64(max(n, windowBytes)), w.size-at))
		w.buf = slices.Grow(w.buf[:0], want)[:want]
		got, err := w.file.ReadAt(w.buf, at)
		w.buf, w.at = w.buf[:got], at
		if got < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // somebody else cuts the file
			}
			return nil, err
		}
	}
	i := at - w.at
	return w.buf[i : i+int64(n)], nil
}

// block reads the block at a place of the file.
func (w *window) block(at int64, id identity) (h header, body []byte, size int, err error) {
	b, err := w.bytes(at, headerBytes)
	if err != nil {
		return h, nil, 0, &readError{err}
	}
	if h, err = parseHeader(b, id); err != nil {
		return h, nil, 0, err
	}
	if b, err = w.bytes(at, headerBytes+int(h.length)); err != nil {
		return h, nil, 0, &readError{err}
	}
	return parseBlock(b, id)
}

// readError is a fault of the disk, not of what is on it.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// scan reads a segment up to the first bytes that are no whole block of it.
// Its error is the disk's.
func scan(f File, id identity) (*scanned, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	w := &window{file: f, size: size}
	s := &scanned{ends: make(map[Stream]int64), marks: make(map[string]string), follows: -1}
	for s.size < size {
		h, body, n, err := w.block(s.size, id)
		if err == nil {
			err = s.add(h, body)
		}
		if fault := (*readError)(nil); errors.As(err, &fault) {
			return nil, fault.err
		}
		if err != nil {
			s.wrong = err
			s.follows, err = w.find(s.size+1, id)
			return s, err
		}
		s.size += int64(n)
	}
	if s.head == nil {
		s.wrong = errShort
	}
	return s, nil
}

// add takes a block that verifies.
func (s *scanned) add(h header, body []byte) error {
	switch {
	case s.head == nil && h.magic != magicHead, s.head != nil && (h.magic != magicGroup || h.first != s.next):
		return errPlace
	case s.head == nil:
		var err error
		s.head, err = parseHead(h.first, body)
		s.next = h.first
		return err
	}
	s.filled = true
	d := decoder{b: body}
	next := s.next
	for len(d.b) > 0 {
		f, ok := d.nextFrame()
		if !ok {
			return errFrame
		}
		maps.Copy(s.marks, f.marks)
		if f.count == 0 {
			continue
		}
		stream, _, ok := decodeKey(f.key)
		if !ok {
			return errFrame
		}
		next += int64(f.count)
		s.ends[stream] = next
	}
	if d.bad || next != s.next+int64(h.count) {
		return errFrame
	}
	s.next = next
	return nil
}

// find returns where a block's header verifies at or behind a place of the
// file; -1 when none does. One is written only when all before it is synced.
func (w *window) find(at int64, id identity) (int64, error) {
	for ; at < w.size; at += windowBytes - headerBytes {
		b, err := w.bytes(at, windowBytes)
		if err != nil {
			return -1, err
		}
		for from := 0; ; from++ {
			i := bytes.Index(b[from:], []byte(magicAny))
			if i < 0 {
				break
			}
			from += i
			if _, err := parseHeader(b[from:], id); err == nil {
				return at + int64(from), nil
			}
		}
	}
	return -1, nil
}

// mergeMarks lays newer marks over older ones.
func mergeMarks(marks, newer map[string]string) {
	for name, at := range newer {
		if at == "" {
			delete(marks, name)
		} else {
			marks[name] = at
		}
	}
}

func (j *Journal) path(number uint64) string {
	return filepath.Join(j.o.Dir, segmentName(number, j.id))
}
