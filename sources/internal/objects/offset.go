package objects

// An offset is seq<<indexBits | index: the object's number in the manifest and
// the record's index in the object. 2^35 objects are a thousand a second for
// a year; 2^28 records are some 30 GiB of log lines in one object.
const (
	indexBits = 28
	// MaxRecords is how many records of one object can be told apart.
	MaxRecords = 1 << indexBits
	// MaxObjects is how many objects one source can number.
	MaxObjects = 1 << (63 - indexBits)
)

// offsetOf returns the offset of a record. Both must be in their ranges: the
// manifest refuses more objects, and the reader more records.
func offsetOf(seq, index int64) int64 { return seq<<indexBits | index }

// placeOf returns what an offset is made of.
func placeOf(offset int64) (seq, index int64) { return offset >> indexBits, offset & (MaxRecords - 1) }
