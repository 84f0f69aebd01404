package objects

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// piece is a record as it was cut out of an object. Its value is valid until
// the splitter's next call.
type piece struct {
	value []byte
	time  time.Time // the record's own, or zero
	size  int       // of the whole record in bytes, of which value may be the beginning
}

// splitter cuts the text of an object into records. next returns io.EOF behind
// the last one; an error that wraps errFormat is the text's fault, any other the reader's.
type splitter interface {
	next() (piece, error)
}

// errFormat is why a text cannot be split any further.
var errFormat = errors.New("it is not of the format that it should have")

// readSize is how much is read at once.
const readSize = 64 << 10

// window is text on its way from a reader to a splitter: buf[start:end].
type window struct {
	r          io.Reader
	buf        []byte
	start, end int
}

// more reads once, behind what is there. What is there may move. The error is
// the reader's; it comes once all that was read before it was handed out.
func (w *window) more() error {
	if w.end == len(w.buf) {
		left := w.end - w.start
		if w.start > 0 && left <= len(w.buf)/2 {
			copy(w.buf, w.buf[w.start:w.end])
		} else {
			next := make([]byte, max(readSize, 2*len(w.buf)))
			copy(next, w.buf[w.start:w.end])
			w.buf = next
		}
		w.start, w.end = 0, left
	}
	for range 100 {
		n, err := w.r.Read(w.buf[w.end:])
		w.end += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// text is what is there.
func (w *window) text() []byte { return w.buf[w.start:w.end] }

// lines cuts at line ends. Empty lines are no records.
type lines struct {
	in      window
	limit   int
	scanned int // so much of the window holds no line end
	skipped uint64
	ended   bool
}

func newLines(r io.Reader, limit int) *lines { return &lines{in: window{r: r}, limit: limit} }

func (l *lines) next() (piece, error) {
	for {
		if i := bytes.IndexByte(l.in.text()[l.scanned:], '\n'); i >= 0 {
			line := l.in.text()[:l.scanned+i]
			l.in.start += l.scanned + i + 1
			l.scanned = 0
			if p, ok := l.piece(line, len(line)); ok {
				return p, nil
			}
			continue
		}
		l.scanned = len(l.in.text())
		if l.ended {
			return l.last()
		}
		if l.scanned > l.limit+1 { // one more: a CR before the line end to come
			return l.long()
		}
		if err := l.in.more(); err == io.EOF {
			l.ended = true
		} else if err != nil {
			return piece{}, err
		}
	}
}

// piece makes a record of a line without its line end.
func (l *lines) piece(line []byte, size int) (piece, bool) {
	if n := len(line); n > 0 && line[n-1] == '\r' && n == size {
		line, size = line[:n-1], size-1
	}
	if len(line) == 0 {
		l.skipped++
		return piece{}, false
	}
	return piece{value: line[:min(len(line), l.limit)], size: size}, true
}

// last returns what no line end closes.
func (l *lines) last() (piece, error) {
	line := l.in.text()
	l.in.start, l.scanned = l.in.end, 0
	if len(line) > 0 {
		if p, ok := l.piece(line, len(line)); ok {
			return p, nil
		}
	}
	return piece{}, io.EOF
}

// long returns the beginning of a line that is too long, once its end is found.
func (l *lines) long() (piece, error) {
	head := bytes.Clone(l.in.text()[:l.limit])
	size := 0
	for {
		text := l.in.text()
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			l.in.start += i + 1
			l.scanned = 0
			return piece{value: head, size: size + i}, nil
		}
		size += len(text)
		l.in.start, l.scanned = l.in.end, 0
		if l.ended {
			return piece{value: head, size: size}, nil
		}
		if err := l.in.more(); err == io.EOF {
			l.ended = true
		} else if err != nil {
			return piece{}, err
		}
	}
}

// entries cuts the array Records of a CloudTrail file into its elements, as
// they stand there, without decoding them: it follows strings and brackets
// and trusts the rest to whoever reads the record. An element that is longer
// than the limit is passed over and given as its beginning.
type entries struct {
	in    window
	limit int
	state entryState
	found bool // an array Records
}

type entryState int

const (
	beforeFile entryState = iota
	beforeKey             // or the file's end
	afterMember
	beforeEntry // or the array's end
	afterEntry
	behindFile
)

func newEntries(r io.Reader, limit int) *entries { return &entries{in: window{r: r}, limit: limit} }

func (e *entries) next() (piece, error) {
	for {
		c, err := e.peek()
		if err == io.EOF && e.state == behindFile {
			if !e.found {
				return piece{}, fmt.Errorf("%w: there is no array Records in it", errFormat)
			}
			return piece{}, io.EOF
		}
		if err != nil {
			return piece{}, e.early(err)
		}
		switch e.state {
		case beforeFile:
			if c != '{' {
				return piece{}, fmt.Errorf("%w: it begins with %q, not with an object of JSON", errFormat, c)
			}
			e.in.start++
			e.state = beforeKey
		case beforeKey, afterMember:
			if err := e.member(c); err != nil {
				return piece{}, e.early(err)
			}
		case beforeEntry, afterEntry:
			p, ok, err := e.entry(c)
			if err != nil {
				return piece{}, e.early(err)
			}
			if ok {
				return p, nil
			}
		case behindFile:
			return piece{}, fmt.Errorf("%w: %q stands behind its end", errFormat, c)
		}
	}
}

// early says of an end that it comes too early.
func (e *entries) early(err error) error {
	if err == io.EOF {
		return fmt.Errorf("%w: it ends too early", errFormat)
	}
	return err
}

// peek returns the next character that is no white space.
func (e *entries) peek() (byte, error) {
	for {
		for e.in.start < e.in.end {
			switch c := e.in.buf[e.in.start]; c {
			case ' ', '\t', '\r', '\n':
				e.in.start++
			default:
				return c, nil
			}
		}
		if err := e.in.more(); err != nil {
			return 0, err
		}
	}
}

// comma steps over a comma that stands between two of a list, and returns
// what comes next. closing says that the list ends.
func (e *entries) comma(c byte, between bool, end byte) (next byte, closing bool, err error) {
	if c == end {
		e.in.start++
		return c, true, nil
	}
	if !between {
		return c, false, nil
	}
	if c != ',' {
		return 0, false, fmt.Errorf("%w: %q stands where a comma should", errFormat, c)
	}
	e.in.start++
	c, err = e.peek()
	return c, false, err
}

// nameBytes is enough of a name to know it by, were all of it escaped.
const nameBytes = 64

// member reads a member of the file's object, up to its end or to the first of the Records.
func (e *entries) member(c byte) error {
	c, closing, err := e.comma(c, e.state == afterMember, '}')
	if err != nil {
		return err
	}
	if closing {
		e.state = behindFile
		return nil
	}
	if c != '"' {
		return fmt.Errorf("%w: %q stands where a name should", errFormat, c)
	}
	key, err := e.value(nameBytes)
	if err != nil {
		return err
	}
	records := isRecords(key.value)
	if c, err = e.peek(); err != nil {
		return err
	}
	if c != ':' {
		return fmt.Errorf("%w: %q stands where a colon should", errFormat, c)
	}
	e.in.start++
	if c, err = e.peek(); err != nil {
		return err
	}
	if records && c == '[' {
		e.in.start++
		e.found, e.state = true, beforeEntry
		return nil
	}
	e.state = afterMember
	_, err = e.value(0)
	return err
}

// entry reads an element of Records; ok is false at the array's end.
func (e *entries) entry(c byte) (p piece, ok bool, err error) {
	c, closing, err := e.comma(c, e.state == afterEntry, ']')
	if err != nil {
		return piece{}, false, err
	}
	if closing {
		e.state = afterMember
		return piece{}, false, nil
	}
	if c != '{' {
		return piece{}, false, fmt.Errorf("%w: %q begins an element of Records, which are objects", errFormat, c)
	}
	e.state = afterEntry
	p, err = e.value(e.limit)
	return p, err == nil, err
}

// value reads a value that begins at the window's start, and keeps at most so much of it.
func (e *entries) value(keep int) (piece, error) {
	var s scan
	passed, n := 0, 0 // bytes of the value that left the window, and that are scanned in it
	var head []byte
	for {
		text := e.in.text()
		var done bool
		var err error
		if n, done, err = s.feed(text, n); err != nil {
			return piece{}, err
		}
		if done {
			e.in.start += n
			size := passed + n
			if passed > 0 || size > keep {
				if passed == 0 {
					head = text[:min(n, keep)]
				}
				return piece{value: head, size: size, time: s.eventTime}, nil
			}
			return piece{value: text[:n], size: size, time: s.eventTime}, nil
		}
		if n > keep { // it is not kept whole: what was read is let go
			if passed == 0 {
				head = bytes.Clone(text[:keep])
			}
			passed += n
			e.in.start, n = e.in.end, 0
			s.forget()
		}
		if err := e.in.more(); err != nil {
			return piece{}, err
		}
	}
}
