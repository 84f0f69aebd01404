package detect

import (
	"encoding/binary"
	"math"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// The versions of the records' values. A value of another version is refused:
// a field more takes a new version, whose reader takes the old one too
// (TestYesterdaysRecords).
const (
	bucketVersion = 1
	holeVersion   = 1
	clockVersion  = 1
)

// What a bucket's record has.
const (
	hasLimiter = 1 << iota
	hasScopes
	hasDistinct
	hasHeld
	isTimed
)

// A bucket's key: its kind, its group's number, its own key.

func (s *Shard) appendBucketKey(to []byte, b *bucket) []byte {
	to = binary.AppendUvarint(append(to, byte(state.KindBucket)), uint64(s.saving.coder.GroupNumber(b.doc)))
	return append(to, b.key...)
}

// A blackhole's key: its kind, its document's definition, its own key.

func (v *saving) holeKey(k holeKey) []byte {
	v.key = append(v.key[:0], byte(state.KindBlackhole))
	v.key = binary.AppendUvarint(v.key, uint64(v.coder.DefinitionNumber(k.doc)))
	v.key = append(v.key, k.key...)
	return v.key
}

// A clock's key: its kind and its partition.

func (s *Shard) appendClockKey(to []byte, p *part) []byte {
	return binary.AppendUvarint(append(to, byte(state.KindShardClock)), uint64(s.partNumber(p)))
}

// partNumber returns the dictionary's number of a partition.
func (s *Shard) partNumber(p *part) uint32 {
	if p.number == 0 {
		p.number = s.saving.coder.Partition(p.name)
	}
	return p.number
}

// splitKey reads the number and the own key of a bucket's or blackhole's key.
func splitKey(key []byte) (number uint32, own []byte, ok bool) {
	n, size := binary.Uvarint(key[1:])
	if size <= 0 || n == 0 || n > math.MaxInt32 {
		return 0, nil, false
	}
	return uint32(n), key[1+size:], true
}

// appendBucket appends a bucket's value.
func (s *Shard) appendBucket(to []byte, b *bucket) []byte {
	doc, coder := &s.docs[b.doc], s.saving.coder
	var has byte
	if doc.limited {
		has |= hasLimiter
	}
	if doc.timed {
		has |= isTimed
	}
	if x := b.extra; x != nil {
		if x.scopes != nil {
			has |= hasScopes
		}
		if len(x.distinct.values) > 0 {
			has |= hasDistinct
		}
		if x.held != nil {
			has |= hasHeld
		}
	}
	to = append(to, bucketVersion, has)
	to = binary.AppendUvarint(to, uint64(coder.DefinitionNumber(b.doc)))
	to = binary.AppendUvarint(to, uint64(s.partNumber(s.parts[b.part])))
	to = binary.AppendUvarint(to, uint64(b.count))
	to = appendInstant(to, b.last, 0)
	to = appendInstant(to, b.first, b.last.sec)
	to = binary.AppendVarint(to, int64(doc.life)) // so that its death is known without the rules
	to = s.appendPlace(to, b.to, 0)
	to = s.appendPlace(to, b.from, b.to.offset)
	if doc.limited {
		to = binary.LittleEndian.AppendUint64(to, math.Float64bits(b.limiter.tokens))
		to = appendInstant(to, b.limiter.last, b.last.sec)
	}
	to = binary.AppendUvarint(to, uint64(len(b.queue)))
	for i := range b.queue {
		to = coder.Append(to, b.event(i))
	}
	if b.extra != nil {
		to = appendExtra(to, b, has)
	}
	return to
}

func appendExtra(to []byte, b *bucket, has byte) []byte {
	x := b.extra
	if has&hasScopes != 0 { // one for each event
		for i := range b.queue {
			to = pipeline.AppendText(to, x.scopes[b.turn(i)])
		}
	}
	if has&hasDistinct != 0 {
		to = binary.AppendUvarint(to, uint64(len(x.distinct.values)))
		for _, v := range x.distinct.values {
			to = pipeline.AppendText(to, v)
		}
	}
	if has&hasHeld != 0 {
		to = binary.AppendUvarint(to, uint64(len(x.held)))
		for _, h := range x.held {
			if h {
				to = append(to, 1)
			} else {
				to = append(to, 0)
			}
		}
	}
	return to
}

func (s *Shard) appendPlace(to []byte, p place, base int64) []byte {
	to = binary.AppendUvarint(to, uint64(s.partNumber(s.parts[p.part])))
	to = binary.AppendVarint(to, p.offset-base)
	return binary.AppendVarint(to, int64(p.line))
}

func appendInstant(to []byte, i instant, base int64) []byte {
	return binary.AppendUvarint(binary.AppendVarint(to, i.sec-base), uint64(i.nsec))
}

func readInstant(r *pipeline.StoredReader, base int64) instant {
	i := instant{r.Varint() + base, r.Int32()}
	if i.nsec >= 1e9 {
		r.Fail(pipeline.ErrCut)
	}
	return i
}

// bucketRecord is the head of a bucket's value.
type bucketRecord struct {
	has        byte
	definition uint32
	part       uint32 // the dictionary's number
	count      int32
	first      instant
	last       instant
	life       int64
	from, to   storedPlace
	limiter    limiter
}

type storedPlace struct {
	part   uint32
	offset int64
	line   int32
}

func readPlace(r *pipeline.StoredReader, base int64) storedPlace {
	return storedPlace{part: r.Number(), offset: r.Varint() + base, line: int32(r.Varint())}
}

// read reads what appendBucket wrote before the queue.
func (h *bucketRecord) read(r *pipeline.StoredReader) {
	if r.Byte() != bucketVersion {
		r.Fail(pipeline.ErrCut)
	}
	h.has = r.Byte()
	h.definition, h.part, h.count = r.Number(), r.Number(), r.Int32()
	h.last = readInstant(r, 0)
	h.first = readInstant(r, h.last.sec)
	h.life = r.Varint()
	h.to = readPlace(r, 0)
	h.from = readPlace(r, h.to.offset)
	if h.has&hasLimiter != 0 {
		h.limiter.tokens = math.Float64frombits(r.Uint64())
		h.limiter.last = readInstant(r, h.last.sec)
	}
	if h.count == 0 {
		r.Fail(pipeline.ErrCut)
	}
}

// keptLeast is the least that a kept event takes.
const keptLeast = 9

// readQueue reads the rest of a bucket's value into b.
func readQueue(r *pipeline.StoredReader, c *pipeline.KeptCoder, has byte, b *bucket) {
	n := r.Count(keptLeast)
	if n == 0 { // a bucket keeps the event that it was poured last
		r.Fail(pipeline.ErrCut)
		return
	}
	b.queue = make([]*pipeline.Kept, n)
	for i := range b.queue {
		b.queue[i] = new(pipeline.Kept)
		c.Read(r, b.queue[i])
	}
	if has&(hasScopes|hasDistinct|hasHeld) == 0 {
		return
	}
	x := b.more()
	if has&hasScopes != 0 {
		x.scopes = make([]string, n)
		for i := range x.scopes {
			x.scopes[i] = r.Text()
		}
	}
	if has&hasDistinct != 0 {
		for n := r.Count(1); n > 0 && r.Err() == nil; n-- {
			x.distinct.add(pipeline.Alias(r.Bytes())) // it copies
		}
	}
	if has&hasHeld != 0 {
		x.held = make([]bool, r.Count(1))
		for i := range x.held {
			x.held[i] = r.Byte() != 0
		}
	}
}

func (s *Shard) appendHole(to []byte, k holeKey, h hole) []byte {
	to = append(to, holeVersion)
	to = binary.AppendUvarint(to, uint64(s.saving.coder.GroupNumber(k.doc))) // for its name
	to = binary.AppendUvarint(to, uint64(s.partNumber(s.parts[h.part])))
	return appendInstant(to, h.until, 0)
}

type holeRecord struct {
	group, part uint32
	until       instant
}

func readHole(value []byte) (h holeRecord, err error) {
	r := pipeline.NewStoredReader(value)
	if r.Byte() != holeVersion {
		r.Fail(pipeline.ErrCut)
	}
	h.group, h.part = r.Number(), r.Number()
	h.until = readInstant(&r, 0)
	return h, r.End()
}

func appendClock(to []byte, c savedClock) []byte {
	to = append(to, clockVersion, 0)
	if c.free {
		to[len(to)-1] = 1
	}
	return binary.AppendVarint(appendInstant(to, c.clock, 0), c.lateness)
}

func readClock(value []byte) (c savedClock, err error) {
	r := pipeline.NewStoredReader(value)
	if r.Byte() != clockVersion {
		r.Fail(pipeline.ErrCut)
	}
	c.free = r.Byte() != 0
	c.clock = readInstant(&r, 0)
	c.lateness = r.Varint()
	return c, r.End()
}
