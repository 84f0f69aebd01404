package redis

import (
	"fmt"
	"strconv"
	"strings"
)

// An entry's id is milliseconds and a sequence number within them, of 64 bits
// each. As an offset the milliseconds are the upper 43 bits, good until the year 2248, and
// the sequence the lower 20: a million entries in one millisecond. Ids that Redis gives fit.
const (
	sequenceBits = 20
	maxSequence  = 1<<sequenceBits - 1
	maxMillis    = 1<<(63-sequenceBits) - 1
)

// offsetOf returns an id as an offset. The order of offsets is that of ids.
func offsetOf(id string) (int64, error) {
	left, right, ok := strings.Cut(id, "-")
	millis, err := strconv.ParseUint(left, 10, 64)
	var sequence uint64
	if err == nil && ok {
		sequence, err = strconv.ParseUint(right, 10, 64)
	}
	if err != nil || !ok {
		return 0, fmt.Errorf("%q is no id of an entry", id)
	}
	if millis > maxMillis || sequence > maxSequence {
		return 0, fmt.Errorf("the id %s does not fit into a position: its time may be up to %d ms and its sequence up to %d; "+
			"ids that Redis gives by itself (XADD with *) fit", id, uint64(maxMillis), maxSequence)
	}
	return int64(millis<<sequenceBits | sequence), nil
}

// idOf returns the id of an offset; that of a negative one is 0-0.
func idOf(offset int64) string {
	offset = max(offset, 0)
	return strconv.FormatInt(offset>>sequenceBits, 10) + "-" + strconv.FormatInt(offset&maxSequence, 10)
}

// millisOf returns the time in an id, in Unix milliseconds.
func millisOf(offset int64) int64 { return offset >> sequenceBits }
