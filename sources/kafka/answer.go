package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"sluice/sources/kafka/recordbatch"
)

// The versions of Fetch that are spoken: from the first with format 2 and
// transactions to the last that needs no topic's id and no tagged fields.
const (
	minFetchVersion = 4
	maxFetchVersion = 11
)

// answer is what a fetch of one partition brought. Its slices alias the
// answer's bytes, but for aborted, whose memory is used again.
type answer struct {
	err     error // the partition's
	high    int64 // offset after the last record there is
	stable  int64 // offset after the last record that no open transaction holds up
	aborted []recordbatch.AbortedTransaction
	records []byte
}

// end is the offset after the last record that may be read.
func (a *answer) end(committed bool) int64 {
	if committed && a.stable >= 0 {
		return a.stable
	}
	return a.high
}

var errShortAnswer = errors.New("the broker's answer ends early")

// parse reads the body of an answer, behind its correlation id, for the one
// partition that was asked for.
func (a *answer) parse(body []byte, version int16, topic string, partition int32) error {
	r := fields{data: body}
	r.int32() // how long the broker throttles; it delays the answer itself
	whole := int16(0)
	if version >= 7 {
		whole = r.int16()
		r.int32() // no session is used
	}
	a.err, a.aborted, a.records = nil, a.aborted[:0], nil
	found := false
	for range r.count(6) {
		name := r.bytes(int(r.int16()))
		for range r.count(30) {
			if id := r.int32(); string(name) == topic && id == partition && !found {
				found = true
				a.partition(&r, version)
				continue
			}
			(&answer{}).partition(&r, version)
		}
	}
	switch {
	case whole != 0:
		return kafka.Error(whole)
	case r.short:
		return errShortAnswer
	case !found:
		return fmt.Errorf("the broker's answer leaves the partition out: %w", kafka.UnknownTopicOrPartition)
	}
	return nil
}

func (a *answer) partition(r *fields, version int16) {
	if code := r.int16(); code != 0 {
		a.err = kafka.Error(code)
	}
	a.high, a.stable = r.int64(), r.int64()
	if version >= 5 {
		r.int64() // the first offset there is
	}
	for range r.count(16) {
		a.aborted = append(a.aborted, recordbatch.AbortedTransaction{ProducerID: r.int64(), FirstOffset: r.int64()})
	}
	if version >= 11 {
		r.int32() // a follower to read from: no rack is told, so none is offered
	}
	if n := r.int32(); n > 0 {
		a.records = r.bytes(int(n))
	}
}

// fields reads a message's fields; short says that one was not whole.
type fields struct {
	data  []byte
	short bool
}

func (f *fields) bytes(n int) []byte {
	if n < 0 || n > len(f.data) {
		f.short, f.data = true, nil
		return nil
	}
	out := f.data[:n:n]
	f.data = f.data[n:]
	return out
}

func (f *fields) int16() int16 {
	if b := f.bytes(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (f *fields) int32() int32 {
	if b := f.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (f *fields) int64() int64 {
	if b := f.bytes(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// count reads how many elements follow, each of at least size bytes: no more
// than there is room for.
func (f *fields) count(size int) int {
	n := int(f.int32())
	if n > len(f.data)/size {
		f.short, f.data = true, nil
		return 0
	}
	return max(n, 0)
}
