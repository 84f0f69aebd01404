package journald

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

const (
	// maxField bounds the fields but MESSAGE; longer ones are cut.
	maxField = 64 << 10
	// maxName bounds the name of a field, which the journal keeps to 64 bytes.
	maxName = 256
	// maxSize is more than any field of a journal has.
	maxSize = 1 << 32
)

// field is a field of an entry that is kept.
type field struct {
	name  string
	value []byte
}

// entry is an entry of the journal. Its bytes are its own.
type entry struct {
	cursor   string
	realtime time.Time // when journald received it
	fields   []field   // those that are kept; of several of one name, the first
	cut      bool      // the message was longer
	message  bool      // there was one, be it empty
	torn     bool      // journalctl gave it up in the middle and went on with the next
}

// doubtful tells whether there may be more to an entry than journalctl wrote.
// It leaves out what it cannot read, and of an entry that is just being
// written that may be the message.
func (e *entry) doubtful() bool { return e.torn || !e.message }

func (e *entry) get(name string) []byte {
	for _, f := range e.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// decoder takes journalctl's export format apart: an entry is a run of fields
// that ends with an empty line; a field is a line NAME=value, or, where the
// value may hold any bytes, a line NAME, its length in 8 bytes, little end first,
// the value and a line end. See systemd's page on journal export formats.
type decoder struct {
	r          *bufio.Reader
	wanted     []string
	maxMessage int
	begun      string // the cursor of the entry behind one that was torn
}

func newDecoder(r io.Reader, wanted []string, maxMessage int) *decoder {
	return &decoder{r: bufio.NewReaderSize(r, 64<<10), wanted: wanted, maxMessage: maxMessage}
}

// waiting tells whether the next entry may have to be waited for.
func (d *decoder) waiting() bool { return d.r.Buffered() == 0 }

// next returns the next entry. io.EOF is the end between entries,
// io.ErrUnexpectedEOF the end within one; other errors say that it is not the export format.
func (d *decoder) next() (*entry, error) {
	e := &entry{cursor: d.begun}
	began := d.begun != ""
	d.begun = ""
	for {
		name, binaryValue, err := d.name()
		if err != nil {
			if err == io.EOF && began {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if name == "" && !binaryValue { // the empty line
			if !began {
				continue
			}
			if e.cursor == "" {
				return nil, errors.New("an entry has no __CURSOR: it is not journalctl's export format")
			}
			return e, nil
		}
		began = true
		value, cut, err := d.value(name, binaryValue)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if name == "__CURSOR" && e.cursor != "" {
			d.begun, e.torn = string(value), true
			return e, nil
		}
		if err := e.add(name, value, cut); err != nil {
			return nil, err
		}
	}
}

// name reads up to the = or the line end; binaryValue says that it was the
// line end. An empty line is "" and false.
func (d *decoder) name() (name string, binaryValue bool, err error) {
	var b []byte
	for {
		c, err := d.r.ReadByte()
		switch {
		case err == io.EOF && len(b) > 0:
			return "", false, io.ErrUnexpectedEOF
		case err != nil:
			return "", false, err
		case c == '\n':
			return string(b), len(b) > 0, nil
		case c == '=' && len(b) > 0:
			return string(b), false, nil
		case c < '0' || c > 'z' || len(b) == maxName:
			return "", false, fmt.Errorf("%.60q does not begin a field: it is not journalctl's export format", append(b, c))
		}
		b = append(b, c)
	}
}

// value reads a field's value, or what is kept of it; nil where nobody wants it.
func (d *decoder) value(name string, binaryValue bool) (value []byte, cut bool, err error) {
	limit := 0
	switch {
	case name == "MESSAGE":
		limit = d.maxMessage
	case name == "__CURSOR", name == "__REALTIME_TIMESTAMP", slices.Contains(d.wanted, name):
		limit = maxField
	}
	if binaryValue {
		return d.binary(limit)
	}
	return d.text(limit)
}

func (d *decoder) text(limit int) (value []byte, cut bool, err error) {
	for {
		part, err := d.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return nil, false, err
		}
		text := bytes.TrimSuffix(part, []byte("\n"))
		keep := min(len(text), limit-len(value))
		value, cut = append(value, text[:keep]...), cut || keep < len(text)
		if err == nil {
			return value, cut, nil
		}
	}
}

func (d *decoder) binary(limit int) (value []byte, cut bool, err error) {
	var head [8]byte
	if _, err := io.ReadFull(d.r, head[:]); err != nil {
		return nil, false, err
	}
	size := binary.LittleEndian.Uint64(head[:])
	if size > maxSize {
		return nil, false, fmt.Errorf("a field has %d bytes, more than a journal holds: it is not journalctl's export format", size)
	}
	keep := min(int64(size), int64(limit))
	// As it comes, so that a length that is not true takes no memory.
	var b bytes.Buffer
	if _, err := io.CopyN(&b, d.r, keep); err != nil {
		return nil, false, err
	}
	if _, err := io.CopyN(io.Discard, d.r, int64(size)-keep); err != nil {
		return nil, false, err
	}
	end, err := d.r.ReadByte()
	if err == nil && end != '\n' {
		err = errors.New("a field is longer than it says: it is not journalctl's export format")
	}
	if limit == 0 {
		return nil, false, err
	}
	return b.Bytes(), int64(size) > keep, err
}

func (e *entry) add(name string, value []byte, cut bool) error {
	e.message = e.message || name == "MESSAGE"
	switch {
	case name == "__CURSOR":
		e.cursor = string(value)
	case name == "__REALTIME_TIMESTAMP":
		micros, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || micros <= 0 {
			return fmt.Errorf("__REALTIME_TIMESTAMP is %.40q, which is no time: it is not journalctl's export format", value)
		}
		e.realtime = time.UnixMicro(micros).UTC()
	case value != nil && e.get(name) == nil:
		e.fields = append(e.fields, field{name, value})
		e.cut = e.cut || cut && name == "MESSAGE"
	}
	return nil
}
