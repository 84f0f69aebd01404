package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// held is what a member of the group announces in its UserData: its name and
// where its state stands in the partitions that it holds.
//
// On the wire: the version, 1, as a byte; the name; the number of topics; for
// each its name, the number of its partitions, and for each of them, by
// ascending number, how far its number is from the one before (the number
// itself for the first) and the offset. Numbers are uvarints, and a string is
// its length and its bytes.
type held struct {
	name   string
	topics map[string]map[int32]int64
}

const userDataVersion = 1

func (h held) encode() []byte {
	out := appendString([]byte{userDataVersion}, h.name)
	out = binary.AppendUvarint(out, uint64(len(h.topics)))
	for _, topic := range slices.Sorted(maps.Keys(h.topics)) {
		parts := h.topics[topic]
		out = appendString(out, topic)
		out = binary.AppendUvarint(out, uint64(len(parts)))
		before := int32(0)
		for _, id := range slices.Sorted(maps.Keys(parts)) {
			out = binary.AppendUvarint(out, uint64(id-before))
			out = binary.AppendUvarint(out, uint64(parts[id]))
			before = id
		}
	}
	return out
}

func appendString(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// errUserData says that a member's UserData cannot be read.
var errUserData = errors.New("what the member announces is damaged")

// decodeHeld reads what encode wrote, and nothing else.
func decodeHeld(data []byte) (held, error) {
	if len(data) > 0 && data[0] > userDataVersion {
		return held{}, fmt.Errorf("the member announces what it holds in version %d, and %d is known here; run one version in a group", data[0], userDataVersion)
	}
	if len(data) == 0 || data[0] != userDataVersion {
		return held{}, errUserData
	}
	r := &uvarints{data: data[1:]}
	h := held{name: r.string(), topics: make(map[string]map[int32]int64)}
	last := ""
	for i, n := 0, r.count(); i < n; i++ {
		topic, parts := r.string(), r.partitions()
		if i > 0 && topic <= last {
			r.bad = true
		}
		if r.bad {
			break
		}
		h.topics[topic], last = parts, topic
	}
	if r.bad || len(r.data) > 0 || h.name != "" && !memberName.MatchString(h.name) {
		return held{}, errUserData
	}
	return h, nil
}

// uvarints reads numbers and strings until one of them is bad; then all are zero.
type uvarints struct {
	data []byte
	bad  bool
}

func (r *uvarints) next(limit uint64) uint64 {
	v, n := binary.Uvarint(r.data)
	if r.bad || n <= 0 || v > limit || n > 1 && r.data[n-1] == 0 { // the last: a number written longer than it needs
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

// count reads a number of things that each take a byte or more.
func (r *uvarints) count() int { return int(r.next(uint64(len(r.data)))) }

func (r *uvarints) string() string {
	n := r.count()
	if r.bad || n > len(r.data) {
		r.bad = true
		return ""
	}
	s := string(r.data[:n])
	r.data = r.data[n:]
	return s
}

func (r *uvarints) partitions() map[int32]int64 {
	n := r.count()
	out := make(map[int32]int64, n)
	id := uint64(0)
	for i := 0; i < n && !r.bad; i++ {
		step := r.next(math.MaxInt32)
		offset := r.next(math.MaxInt64)
		if id += step; id > math.MaxInt32 || i > 0 && step == 0 {
			r.bad = true
		}
		out[int32(id)] = int64(offset)
	}
	return out
}
