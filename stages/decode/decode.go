package decode

import (
	"time"

	"sluice/pipeline"
)

// Line is one line of a log, as the parsers get it. Its strings alias the
// record's bytes or the Reader's memory: they are valid until the Reader's
// next Batch.
type Line struct {
	// Text is evt.Line.Raw: the line without its line end.
	Text string
	// Index is the line's place within its record, from 0; empty lines count.
	Index int32
	// Time is what the envelope says, or the zero time when it says nothing:
	// then the record's time holds.
	Time time.Time
	// Labels are evt.Line.Labels, each name once: static ones, the batch's,
	// those from topic, key and headers, those of the envelope; a later one of
	// that list wins. The slice is valid until the Reader's next call.
	Labels []LabelValue
}

// LabelValue is a label of a line.
type LabelValue struct {
	// Slot is the label's slot, or pipeline.NoSlot for a name that no rule
	// mentions: use Event.SetField then.
	Slot  pipeline.Slot
	Name  string
	Value string
}

// Decoder turns records into lines. It is immutable and safe for concurrent
// use; each goroutine reads through a Reader of its own.
type Decoder struct{}

// Compile makes a Decoder of a validated configuration. It gives slots to the
// labels that the configuration names, so it comes before the first
// pipeline.NewEvent on the schema.
func Compile(config Config, schema *pipeline.Schema) (*Decoder, error) { return &Decoder{}, nil }

// NewReader returns a Reader for one goroutine.
func (d *Decoder) NewReader() *Reader { return &Reader{} }

// Reader steps through the lines of records:
//
//	r.Batch(batch)
//	for i := range batch.Records {
//		r.Record(&batch.Records[i])
//		for r.Next() {
//			use(r.Line())
//		}
//		if err := r.Err(); err != nil {
//			count(err.Reason)
//		}
//	}
type Reader struct{}

// Batch begins a batch. Lines of the batch before become invalid.
func (r *Reader) Batch(batch *pipeline.RecordBatch) {}

// Record begins a record of the batch.
func (r *Reader) Record(rec *pipeline.Record) {}

// Next steps to the record's next line. Empty lines are skipped. It returns
// false at the record's end or when the rest cannot be decoded: see Err.
func (r *Reader) Next() bool { return false }

// Line returns the current line. The pointer is valid until the next call of Next.
func (r *Reader) Line() *Line { return nil }

// Err says why the record, or the rest of it, cannot be decoded; nil when all of it was.
func (r *Reader) Err() *Error { return nil }

// Reason is why a record cannot be decoded: few values, for counters.
type Reason string

// Error is a record that cannot be decoded.
type Error struct {
	Reason Reason
	// Detail says more, for dead letters.
	Detail string
}

// Error gives reason and detail.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Detail }
