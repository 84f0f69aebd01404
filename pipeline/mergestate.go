package pipeline

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"sluice/pipeline/state"
)

// Lines that are parsed but wait for those of other partitions are state:
// their records are before the positions, and what stashes held for them is
// past. One record of state holds what one line does.

// lineVersion is the first byte of a line's record.
const lineVersion = 1

// savedLines are the records that the last checkpoint holds, by key.
type savedLines map[string]state.Sum

// save writes down the lines that wait and deletes those that no longer do.
func (m *merger) save(w *state.Writer, c Coder, d *state.Dictionary) {
	now := make(savedLines, len(m.saved))
	var key, value []byte
	for _, l := range m.lanes {
		number := PartitionNumber(d, l.part)
		m.each(l, func(s *ClockStep, clock time.Time, pours []Pour) {
			at := positionOf(s, pours)
			key = binary.AppendUvarint(append(key[:0], byte(state.KindLine)), uint64(number))
			key = binary.BigEndian.AppendUint64(key, uint64(at.Offset))
			key = binary.BigEndian.AppendUint32(key, uint32(at.Line))
			if sum, ok := m.saved[string(key)]; ok { // a line that waits does not change
				now[string(key)] = sum
				return
			}
			value = appendLine(value[:0], s, clock, pours, c)
			now[string(key)] = w.Put(key, value, 0)
		})
	}
	for key, sum := range m.saved {
		if _, waits := now[key]; !waits {
			w.Delete([]byte(key), sum)
		}
	}
	m.saved = now
}

// each calls f for the lines of a lane that wait, with the step that a line
// makes, if any, the clock behind it and its pours.
func (m *merger) each(l *mergeLane, f func(s *ClockStep, clock time.Time, pours []Pour)) {
	pour, step, clock := l.pour, l.step, l.clock
	for i, b := range l.queue {
		if i > 0 {
			pour, step, clock = 0, 0, b.before
		}
		for pour < len(b.Pours) || step < len(b.Steps) {
			var s *ClockStep
			line := int32(-1)
			if pour < len(b.Pours) {
				line = b.Pours[pour].Line
			}
			if step < len(b.Steps) && (line < 0 || b.Steps[step].Line <= line) {
				s = &b.Steps[step]
				line, clock = s.Line, s.Clock
				step++
			}
			from := pour
			for pour < len(b.Pours) && b.Pours[pour].Line == line {
				pour++
			}
			f(s, clock, b.Pours[from:pour])
		}
	}
}

func positionOf(s *ClockStep, pours []Pour) Position {
	if s != nil {
		return s.Position
	}
	return pours[0].Event.Position
}

func appendLine(to []byte, s *ClockStep, clock time.Time, pours []Pour, c Coder) []byte {
	to = append(to, lineVersion)
	steps := byte(0)
	if s != nil {
		steps = 1
	}
	to = append(to, steps)
	to = binary.AppendVarint(to, clock.Unix())
	to = binary.AppendUvarint(to, uint64(clock.Nanosecond()))
	to = binary.AppendUvarint(to, uint64(len(pours)))
	for i := range pours {
		to = c.AppendPour(to, &pours[i])
	}
	return to
}

// WaitingLine is a line, out of a checkpoint, that waited for other partitions.
type WaitingLine struct {
	Key      []byte // of its record
	Sum      state.Sum
	Position Position
	Step     bool      // the line moves the clock
	Clock    time.Time // behind the line
	Pours    []Pour
}

// ErrBadLine says that the record of a waiting line cannot be read.
var ErrBadLine = errors.New("the record of a waiting line is damaged")

// LinePartition returns the partition of a waiting line's record.
func LinePartition(d *state.Dictionary, key []byte) (Partition, error) {
	number, n := binary.Uvarint(key[1:])
	if n <= 0 || len(key) != 1+n+12 {
		return Partition{}, ErrBadLine
	}
	part, ok := PartitionOf(d, uint32(number))
	if !ok {
		return Partition{}, ErrBadLine
	}
	return part, nil
}

// DecodeLine reads the record of a waiting line. decode reads one pour and
// returns what is behind it; a nil pour is one whose scenario is gone.
func DecodeLine(key, value []byte, sum state.Sum, d *state.Dictionary, decode func([]byte) (*Pour, []byte, error)) (*WaitingLine, error) {
	part, err := LinePartition(d, key)
	if err != nil || len(value) < 2 || value[0] != lineVersion {
		return nil, ErrBadLine
	}
	at := key[len(key)-12:]
	l := &WaitingLine{
		Key: slices.Clone(key), Sum: sum, Step: value[1] == 1,
		Position: Position{part, int64(binary.BigEndian.Uint64(at)), int32(binary.BigEndian.Uint32(at[8:]))},
	}
	value = value[2:]
	sec, n1 := binary.Varint(value)
	if n1 <= 0 {
		return nil, ErrBadLine
	}
	nsec, n2 := binary.Uvarint(value[n1:])
	if n2 <= 0 {
		return nil, ErrBadLine
	}
	count, n3 := binary.Uvarint(value[n1+n2:])
	if n3 <= 0 {
		return nil, ErrBadLine
	}
	l.Clock = time.Unix(sec, int64(nsec)).UTC()
	value = value[n1+n2+n3:]
	for range count {
		p, rest, err := decode(value)
		if err != nil {
			return nil, err
		}
		if p != nil {
			l.Pours = append(l.Pours, *p)
		}
		value = rest
	}
	return l, nil
}

// ResumeLines gives the graph the lines that waited at the checkpoint, with
// the clocks of their partitions given to Resume before. Call it before Run.
func (g *Graph) ResumeLines(lines []*WaitingLine) {
	if g.merger == nil || len(lines) == 0 {
		return
	}
	slices.SortFunc(lines, func(a, b *WaitingLine) int { return a.Position.Compare(b.Position) })
	for len(lines) > 0 {
		n := 1
		for n < len(lines) && lines[n].Position.Partition == lines[0].Position.Partition {
			n++
		}
		g.merger.add(g.resumedBatch(lines[:n]))
		for _, l := range lines[:n] {
			g.merger.saved[string(l.Key)] = l.Sum
		}
		lines = lines[n:]
	}
}

// resumedBatch makes a batch of one partition's lines.
func (g *Graph) resumedBatch(lines []*WaitingLine) *flight {
	f := g.newFlight()
	part := lines[0].Position.Partition
	f.Records = &RecordBatch{Partition: part}
	f.before = lines[0].Clock
	for i, l := range lines {
		if l.Step {
			f.Steps = append(f.Steps, ClockStep{Line: int32(i), Position: l.Position, Clock: l.Clock})
		}
		for _, p := range l.Pours {
			p.Line = int32(i)
			f.Pours = append(f.Pours, p)
		}
	}
	clock := lines[len(lines)-1].Clock
	if t := g.tickets[part]; t != nil && t.clock.After(clock) {
		clock = t.clock
	}
	f.ticket = &ticket{clock: clock}
	return f
}
