package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Kind is the first byte of a record's key: who owns the record.
type Kind byte

// The kinds of records.
const (
	KindBucket     Kind = 'b' // stages/detect: a bucket
	KindBlackhole  Kind = 'h' // stages/detect: a key that is muted until a time
	KindShardClock Kind = 's' // stages/detect: a clock as a shard has seen it; unused by others
	KindClock      Kind = 'c' // pipeline: a partition's clock
	KindPosition   Kind = 'p' // pipeline: where a partition is read next
	KindStash      Kind = 't' // stages/parse: an entry of a partition's stash
	KindLine       Kind = 'm' // pipeline: lines that wait for other partitions (order: merged)
	KindPending    Kind = 'a' // pipeline: an alert that waits for a look-up
	KindDecisions  Kind = 'l' // stages/decide: the decisions made about a value
	KindNumber     Kind = 'd' // the Dictionary
)

// String returns the kind's name, as exports write it.
func (k Kind) String() string {
	switch k {
	case KindBucket:
		return "bucket"
	case KindBlackhole:
		return "blackhole"
	case KindShardClock:
		return "shard_clock"
	case KindClock:
		return "clock"
	case KindPosition:
		return "position"
	case KindStash:
		return "stash"
	case KindLine:
		return "line"
	case KindPending:
		return "pending_alert"
	case KindDecisions:
		return "decisions"
	case KindNumber:
		return "number"
	}
	return fmt.Sprintf("Kind(%q)", byte(k))
}

// Sum is the checksum of a record's key and value. 0 is that of a record that
// is not there.
type Sum uint64

// SumOf returns the checksum of a record; it is never 0.
func SumOf(key, value []byte) Sum {
	var d xxhash.Digest
	d.Reset()
	var n [binary.MaxVarintLen64]byte
	_, _ = d.Write(n[:binary.PutUvarint(n[:], uint64(len(key)))]) // a Digest takes everything
	_, _ = d.Write(key)
	_, _ = d.Write(value)
	return max(Sum(d.Sum64()), 1)
}

// chunkBytes is about how large a Writer lets its chunks grow.
const chunkBytes = 512 << 10

// Writer gathers the records that one part of the graph changes between two
// barriers, in order. The part that makes it uses it alone until it is handed
// to the store. A key belongs to one part; that part may write it several
// times, and the last time counts.
//
// The zero Writer is empty and ready to use.
type Writer struct {
	chunks [][]byte
	// change is the sums of what was written less those of what was there before.
	change  Sum
	records int // written less deleted
	ops     int
	bytes   int
}

const (
	opPut    = 1
	opDelete = 2
)

// Put writes a record in place of one whose sum was old, 0 for none, and
// returns its sum. Key and value are copied.
func (w *Writer) Put(key, value []byte, old Sum) Sum {
	sum := SumOf(key, value)
	b := w.chunk(len(key) + len(value))
	b = append(b, opPut)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, value...)
	w.took(b)
	w.change += sum - old
	if old == 0 {
		w.records++
	}
	return sum
}

// Delete removes a record whose sum was old; one that was not there, old 0, costs nothing.
func (w *Writer) Delete(key []byte, old Sum) {
	if old == 0 {
		return
	}
	b := w.chunk(len(key))
	b = append(b, opDelete)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	w.took(b)
	w.change -= old
	w.records--
}

// chunk returns the last chunk if it has room, or begins one.
func (w *Writer) chunk(more int) []byte {
	more += 1 + 2*binary.MaxVarintLen64
	if n := len(w.chunks); n > 0 && len(w.chunks[n-1])+more <= chunkBytes {
		return w.chunks[n-1]
	}
	size := 4 << 10 // most parts change little
	if len(w.chunks) > 0 {
		size = chunkBytes
	}
	w.chunks = append(w.chunks, make([]byte, 0, max(size, more)))
	return w.chunks[len(w.chunks)-1]
}

func (w *Writer) took(b []byte) {
	last := len(w.chunks) - 1
	w.bytes += len(b) - len(w.chunks[last])
	w.chunks[last] = b
	w.ops++
}

// Bytes is the size of what was written; Len counts the changes.
func (w *Writer) Bytes() int { return w.bytes }

// Len counts the puts and deletes.
func (w *Writer) Len() int { return w.ops }

// Each calls put and del for every change, in order. The slices are valid
// during the call.
func (w *Writer) Each(put func(key, value []byte) error, del func(key []byte) error) error {
	for _, c := range w.chunks {
		if err := eachOp(c, put, del); err != nil {
			return err
		}
	}
	return nil
}

// errTorn says that a chunk ends in the middle of a change.
var errTorn = errors.New("a chunk of state is cut short")

// op is one change: a put, or a delete when deleted is set. It aliases its chunk.
type op struct {
	key, value []byte
	deleted    bool
	encoded    []byte // as it stands in the chunk
	hash       uint64 // of key; 0 until placed
}

// nextOp reads the first change of a chunk, and returns what follows it.
func nextOp(c []byte) (o op, rest []byte, err error) {
	r := reader{b: c}
	kind := r.byte()
	o.key = r.bytes()
	switch {
	case r.bad || len(o.key) == 0:
		return op{}, nil, errTorn
	case kind == opPut:
		o.value = r.bytes()
	case kind == opDelete:
		o.deleted = true
	default:
		return op{}, nil, fmt.Errorf("a chunk of state holds the unknown change %d: a newer version wrote it", kind)
	}
	if r.bad {
		return op{}, nil, errTorn
	}
	o.encoded = c[:len(c)-len(r.b)]
	return o, r.b, nil
}

// eachOp reads the changes of one chunk.
func eachOp(c []byte, put func(key, value []byte) error, del func(key []byte) error) error {
	for len(c) > 0 {
		o, rest, err := nextOp(c)
		if err != nil {
			return err
		}
		if o.deleted {
			err = del(o.key)
		} else {
			err = put(o.key, o.value)
		}
		if err != nil {
			return err
		}
		c = rest
	}
	return nil
}
