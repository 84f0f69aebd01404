package pipeline

import "time"

// Header is a header of a broker's record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record as its source delivered it, not decoded. Its bytes
// belong to the source and are valid until the RecordBatch is released.
type Record struct {
	Value   []byte
	Key     []byte
	Headers []Header
	Offset  int64     // in its partition; for a file, the offset of the line's first byte
	Time    time.Time // broker's time, or time of receipt: never zero
}

// RecordBatch is a run of records of one partition, in order.
type RecordBatch struct {
	Partition Partition
	Module    string            // evt.Line.Module: "kafka", "file", …
	Labels    map[string]string // labels that all records of the batch have
	Records   []Record

	// Next is the offset to read behind the last record; 0 is the one after
	// its own, which is right where offsets count records. A batch without records that has
	// it says where the partition is read next.
	Next int64

	// Dead are things that stood before the first record, or behind the last
	// one before Next, and that the source could not read: they are for the dead letters, if there are any.
	Dead []DeadLetter

	// HighWatermark is the offset after the partition's last record when the
	// batch was read, or -1 when the source cannot say; it serves the lag.
	HighWatermark int64

	// Release, when set, gives the records' memory back to the source. The
	// graph calls it once, when no stage reads the batch any more.
	Release func()
}
