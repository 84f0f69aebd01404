package engine

import (
	"fmt"
	"time"

	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/parse"
)

// Tracer runs single lines through the stateless stages, under an observer:
// the same code as a graph's workers, one line at a time.
type Tracer struct {
	worker *worker
	batch  pipeline.Batch
	offset int64
}

// Trace is what became of one line. Its pours are valid until the next line.
type Trace struct {
	Stats pipeline.BatchStats
	Pours []pipeline.Pour
}

// NewTracer returns a tracer. Every tracer has stashes of its own.
func (e *Engine) NewTracer(decoding decode.Config, observer parse.Observer) (*Tracer, error) {
	d, err := decode.Compile(decoding, e.Schema)
	if err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	e.keep.Prepare(e.Schema)
	r := &running{engine: e, raw: d, stashes: make(map[pipeline.Partition]*parse.Stashes)}
	w := r.newWorker()
	w.observer = observer
	return &Tracer{worker: w}, nil
}

// Line runs one line, received at a time, as the given module and source path would.
func (t *Tracer) Line(text, module, src string, received time.Time) Trace {
	b := &t.batch
	b.Arena.Reset()
	b.Pours, b.Steps, b.Stats = b.Pours[:0], b.Steps[:0], pipeline.BatchStats{}
	b.Records = &pipeline.RecordBatch{
		Partition: pipeline.Partition{Source: "trace", Topic: src}, Module: module,
		Records: []pipeline.Record{{Value: []byte(text), Offset: t.offset, Time: received}},
	}
	t.offset++
	t.worker.Work(b, &pipeline.Turn{})
	return Trace{Stats: b.Stats, Pours: b.Pours}
}
