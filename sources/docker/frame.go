package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
)

// The streams of a log.
const (
	streamTTY    = "tty"
	streamStdout = "stdout"
	streamStderr = "stderr"
)

// logLine is a line of a container's log. Its text is its own.
type logLine struct {
	stream string
	at     time.Time
	text   []byte // without its line end
	cut    bool   // it was longer
}

// streamSystem marks a frame that holds what went wrong in the engine.
const streamSystem = 3

// maxStamp bounds the time before a line.
const maxStamp = 40

// lineReader makes lines of a log stream, in bounded memory. A terminal's log
// is the lines themselves. Any other is frames: which stream in the first of 8 bytes,
// the length in the last four, big end first, then the bytes; a line that is
// longer than the engine's buffer comes in several frames, each with the line's time before it.
type lineReader struct {
	r   *bufio.Reader
	tty bool
	max int

	partial [3]pending // by stream as frames number them; a terminal's is 0
}

// pending is a line whose end has not come.
type pending struct {
	at      time.Time // of the line; zero where its time has not come
	inFrame bool      // what may be the time at the frame's beginning is behind
	token   []byte    // that, as far as it has come
	text    []byte
	cut     bool
	open    bool // something of the line has come
}

func newLineReader(r io.Reader, tty bool, max int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 32<<10), tty: tty, max: max}
}

// waiting tells whether the next line may have to be waited for.
func (l *lineReader) waiting() bool { return l.r.Buffered() == 0 }

// read calls each with every line, until the stream ends (nil), is broken, or
// each fails. A line without an end is left in rest.
func (l *lineReader) read(each func(logLine) error) error {
	if l.tty {
		return l.readTTY(each)
	}
	for {
		var head [8]byte
		if _, err := io.ReadFull(l.r, head[:]); err != nil {
			if err == io.EOF {
				return nil
			}
			return fmt.Errorf("the log ends within a frame: %w", err)
		}
		if head[0] == streamSystem {
			text, err := io.ReadAll(io.LimitReader(l.r, int64(min(binary.BigEndian.Uint32(head[4:]), 1000))))
			return errors.Join(fmt.Errorf("the engine ends the log: %s", text), err)
		}
		if head[0] > 2 || head[1] != 0 || head[2] != 0 || head[3] != 0 {
			return fmt.Errorf("%x begins no frame of a log", head)
		}
		if err := l.frame(head[0], int64(binary.BigEndian.Uint32(head[4:])), each); err != nil {
			return err
		}
	}
}

// frame reads the bytes of one frame.
func (l *lineReader) frame(stream byte, size int64, each func(logLine) error) error {
	p := &l.partial[stream]
	p.inFrame = false
	for size > 0 {
		part, err := l.r.Peek(int(min(size, 4096)))
		if len(part) == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("the log ends within a frame: %w", err)
		}
		n, err := l.take(p, stream, part, each)
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

func (l *lineReader) readTTY(each func(logLine) error) error {
	p := &l.partial[0]
	for {
		if _, err := l.r.Peek(1); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		part, _ := l.r.Peek(l.r.Buffered())
		if _, err := l.take(p, 0, part, each); err != nil {
			return err
		}
	}
}

// take reads bytes of a line, up to its end, and returns how many they were.
// They are behind before each is called, so that waiting knows what is left.
func (l *lineReader) take(p *pending, stream byte, part []byte, each func(logLine) error) (int, error) {
	end := bytes.IndexByte(part, '\n')
	taken := part
	if end >= 0 {
		taken = part[:end]
	}
	p.add(taken, l.max)
	if end < 0 {
		return l.r.Discard(len(part))
	}
	line, err := p.finish(l.streamName(stream), l.max)
	if err != nil {
		return 0, err
	}
	if _, err := l.r.Discard(end + 1); err != nil {
		return 0, err
	}
	return end + 1, each(line)
}

func (l *lineReader) streamName(stream byte) string {
	switch {
	case l.tty:
		return streamTTY
	case stream == 2:
		return streamStderr
	}
	return streamStdout
}

// add adds bytes of one line: first those of its time, up to a space, which
// may come again at the beginning of each further frame of the line.
func (p *pending) add(b []byte, max int) {
	p.open = true
	if !p.inFrame {
		space := bytes.IndexByte(b, ' ')
		token := b
		if space >= 0 {
			token = b[:space]
		}
		if len(p.token)+len(token) > maxStamp { // it is no time
			p.inFrame = true
			p.keep(p.token, max)
			p.keep(b, max)
			p.token = p.token[:0]
			return
		}
		p.token = append(p.token, token...)
		if space < 0 {
			return
		}
		if !p.stamp() {
			p.keep(append(p.token, ' '), max)
		}
		p.inFrame, p.token = true, p.token[:0]
		b = b[space+1:]
	}
	p.keep(b, max)
}

// stamp takes the token as a time, if it is one.
func (p *pending) stamp() bool {
	at, err := time.Parse(time.RFC3339Nano, string(p.token))
	if err != nil || at.Year() < 1970 || at.Year() > 2261 {
		return false
	}
	if p.at.IsZero() {
		p.at = at.UTC()
	}
	return true
}

func (p *pending) keep(b []byte, max int) {
	n := min(len(b), max-len(p.text))
	p.text, p.cut = append(p.text, b[:n]...), p.cut || n < len(b)
}

// finish returns the line, and makes place for the next.
func (p *pending) finish(stream string, max int) (logLine, error) {
	if !p.inFrame && !p.stamp() {
		p.keep(p.token, max)
	}
	if p.at.IsZero() {
		return logLine{}, fmt.Errorf("a line of the log begins with %.40q, which is no time", p.text)
	}
	line := logLine{stream: stream, at: p.at, text: bytes.TrimSuffix(p.text, []byte("\r")), cut: p.cut}
	if stream == streamTTY {
		line.text = withoutStamps(line.text, p.at)
	}
	*p = pending{token: p.token[:0]}
	return line, nil
}

// inner is what may be a time that the engine wrote into a line.
var inner = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})( |$)`)

// withoutStamps removes the times before the further pieces of a terminal's
// line, which has no frames to show them. The engine's are not before the
// line's own, and a program's, taken before it wrote the line, are; where
// times are whole seconds, only one at the line's end is known for the engine's.
func withoutStamps(text []byte, at time.Time) []byte {
	for begin := 1; begin < len(text); {
		m := inner.FindSubmatchIndex(text[begin:])
		if m == nil {
			break
		}
		from, to := begin+m[0], begin+m[1]
		written, err := time.Parse(time.RFC3339Nano, string(bytes.TrimSuffix(text[from:to], []byte(" "))))
		finer := m[2] >= 0
		if err != nil || written.Before(at) || written.Sub(at) > time.Minute || !finer && to < len(text) {
			begin = to
			continue
		}
		text = append(text[:from], text[to:]...)
		begin = max(from, 1)
	}
	return text
}

// rest returns the lines that have no end, once the log has ended for good.
func (l *lineReader) rest(each func(logLine) error) error {
	for stream := range l.partial {
		p := &l.partial[stream]
		if !p.open || len(p.text) == 0 {
			continue
		}
		line, err := p.finish(l.streamName(byte(stream)), l.max)
		if err != nil {
			continue // it was cut within its time
		}
		if err := each(line); err != nil {
			return err
		}
	}
	return nil
}
