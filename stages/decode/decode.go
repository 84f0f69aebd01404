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
	// BadTime says that the envelope had a time that cannot be read.
	BadTime bool
	// Cut says that the text was longer than max_line_bytes and was shortened.
	Cut bool
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
type Decoder struct {
	format   string
	maxLine  int
	maxDepth int
	schema   *pipeline.Schema
	labels   labelPlan
	paths    pathPlan
}

// Compile makes a Decoder of a configuration, which it validates. It gives
// slots to the labels that the configuration names, so it comes before the
// first pipeline.NewEvent on the schema.
func Compile(config Config, schema *pipeline.Schema) (*Decoder, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	d := &Decoder{
		format: config.Format, maxLine: int(config.MaxLineBytes), maxDepth: config.MaxDepth, schema: schema,
	}
	if config.Format == FormatJSON || config.Format == FormatCloudTrail {
		d.paths.message = d.paths.add(config.Message)
		d.paths.timestamp = noPath
		if config.Timestamp != "" {
			d.paths.timestamp = d.paths.add(config.Timestamp)
		}
	}
	d.labels = planLabels(&config, schema, &d.paths)
	return d, nil
}

// NewReader returns a Reader for one goroutine.
func (d *Decoder) NewReader() *Reader {
	r := &Reader{d: d}
	r.scan.maxDepth = d.maxDepth
	r.found = make([]span, len(d.paths.paths))
	r.Batch(&pipeline.RecordBatch{})
	return r
}

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
type Reader struct {
	d    *Decoder
	line Line
	err  *Error
	rec  *pipeline.Record

	rest  []byte // formats raw and lines: what is not split yet
	more  bool   // raw: the record was not read yet
	index int32  // of the next line

	scan  scanner
	list  bool   // inside an array of envelopes
	first bool   // and before its first
	flaw  *Error // the last envelope that gave no line, while others do
	found []span // by path of the plan, for the current envelope
	arena arena

	fixed  []LabelValue // labels of the batch: static, its own, topic
	record []LabelValue // and those of the record: key, headers
	labels []LabelValue // and those of the envelope
}

// Batch begins a batch. Lines of the batch before become invalid.
func (r *Reader) Batch(batch *pipeline.RecordBatch) {
	r.arena.reset()
	r.line, r.err, r.flaw, r.rec = Line{}, nil, nil, nil
	r.rest, r.more = nil, false
	r.scan.reset(nil)
	r.batchLabels(batch)
}

// Record begins a record of the batch.
func (r *Reader) Record(rec *pipeline.Record) {
	r.rec, r.err, r.flaw, r.index = rec, nil, nil, 0
	r.line = Line{}
	r.recordLabels(rec)
	switch r.d.format {
	case FormatRaw:
		r.rest, r.more = rec.Value, true
	case FormatLines:
		r.rest = rec.Value
	case FormatJSON:
		r.scan.reset(rec.Value)
		r.list = false
	case FormatCloudTrail:
		r.scan.reset(rec.Value)
		r.list = r.enterRecords()
		r.first = r.list
	}
}

// Next steps to the record's next line. Empty lines are skipped. It returns
// false at the record's end or when the rest cannot be decoded: see Err.
func (r *Reader) Next() bool {
	if r.err != nil || r.rec == nil {
		return false
	}
	switch r.d.format {
	case FormatRaw:
		return r.nextRaw()
	case FormatLines:
		return r.nextLine()
	}
	return r.nextEnvelope()
}

// Line returns the current line. The pointer is valid until the next call of Next.
func (r *Reader) Line() *Line { return &r.line }

// Err says, once Next has returned false, why the record or a part of it
// cannot be decoded; nil when all of it was. The lines that Next gave are good.
func (r *Reader) Err() *Error {
	if r.err != nil {
		return r.err
	}
	return r.flaw
}

func (r *Reader) nextRaw() bool {
	if !r.more {
		return false
	}
	r.more = false
	return r.emit(trimEnd(r.rest))
}

func (r *Reader) nextLine() bool {
	for len(r.rest) > 0 {
		var line []byte
		line, r.rest = cutLine(r.rest)
		if r.emit(line) {
			return true
		}
	}
	return false
}

// emit makes b the current line; false when it is empty.
func (r *Reader) emit(b []byte) bool {
	index := r.index
	r.index++
	if len(b) == 0 {
		return false
	}
	r.line.Index = index
	r.line.Cut = len(b) > r.d.maxLine
	if r.line.Cut {
		b = cutAt(b, r.d.maxLine)
	}
	r.line.Text = alias(b)
	r.line.Labels = r.labels
	return true
}
