package kafka

import (
	"context"
	"time"

	"sluice/pipeline"
	"sluice/sources/kafka/recordbatch"
)

// decoder makes records of an answer's batches. It holds what is used again
// for every answer, so that a record costs no allocation.
type decoder struct {
	mem     *memory
	answer  answer
	skip    recordbatch.Aborted
	unpack  *recordbatch.Decompressor
	arena   *block // that payloads are decompressed into; nil before the first
	ratio   int    // how much larger payloads became of late
	headers map[string]string
	current recordbatch.Batch
	record  recordbatch.Record
}

// maxHeaderNames bounds how many names of headers are kept as strings.
const maxHeaderNames = 256

func newDecoder(s *Source) decoder {
	return decoder{mem: &s.mem, unpack: recordbatch.NewDecompressor(int(s.config.MaxBatchBytes)), ratio: 4, headers: make(map[string]string)}
}

func (d *decoder) close() {
	d.unpack.Close()
	if d.arena != nil {
		d.arena.drop()
		d.arena = nil
	}
}

// emitAll emits the records of the answer, in batches, and moves next over
// all that the answer's batches span, whether or not records are left in it.
func (f *fetcher) emitAll(ctx context.Context, body *block, end int64) error {
	f.skip.Reset(f.answer.aborted)
	out := f.s.mem.batch()
	out.HighWatermark = end
	data := f.answer.records
	for {
		b, rest, ok, err := recordbatch.Split(data)
		if err == nil && ok {
			data, f.current = rest, b
			out, err = f.emitBatch(ctx, out, body)
		}
		if err != nil || !ok {
			// What came before a broken batch is good.
			if emitErr := f.emit(ctx, out); emitErr != nil {
				return emitErr
			}
			f.s.note(f.part, f.next, end)
			return err
		}
	}
}

// emitBatch adds the records of the current batch to out, which it emits
// whenever it is full, and returns the one to go on with.
func (f *fetcher) emitBatch(ctx context.Context, out *batch, body *block) (*batch, error) {
	b := &f.current
	if err := b.Check(); err != nil {
		return out, err
	}
	payload, lies := b.Payload, body
	compressed := b.Count > 0 && b.Attributes.Codec() != recordbatch.None
	if compressed && b.Attributes.Control() {
		var err error
		if payload, err = f.decompress(b); err != nil {
			return out, err
		}
	}
	if f.skips(b, payload) {
		f.next = max(f.next, b.LastOffset+1)
		return out, nil
	}
	if compressed {
		var err error
		if payload, err = f.decompress(b); err != nil {
			return out, err
		}
		lies = f.arena
	}
	walk := b.Records(payload)
	for walk.Next(&f.record) {
		if f.record.Offset < f.next {
			continue // a batch may begin before the offset asked for
		}
		if err := f.add(out, lies); err != nil {
			return out, err
		}
		f.next = f.record.Offset + 1
		if len(out.Records) == f.s.config.BatchRecords {
			high := out.HighWatermark
			if err := f.emit(ctx, out); err != nil {
				return f.s.mem.batch(), err
			}
			out = f.s.mem.batch()
			out.HighWatermark = high
		}
	}
	if err := walk.Err(); err != nil {
		return out, err
	}
	f.next = max(f.next, b.LastOffset+1)
	return out, nil
}

// skips tells whether a batch has nothing for this reader. Markers are never
// records; data of aborted transactions is left out of what is committed.
// payload is that of a marker, and looked at for no other batch.
func (f *fetcher) skips(b *recordbatch.Batch, payload []byte) bool {
	if f.s.config.isolation() == readCommitted {
		return f.skip.Skips(b, payload)
	}
	return b.Attributes.Control()
}

// decompress opens a batch's payload into the arena, or a new one when that
// is too full.
func (d *decoder) decompress(b *recordbatch.Batch) ([]byte, error) {
	// A little more than is expected, so that a codec finds its end without growing.
	room := len(b.Payload)*d.ratio + len(b.Payload)/4 + 1024
	if d.arena == nil || len(d.arena.data)-d.arena.used < room {
		d.renew(max(room, arenaBytes))
	}
	free := d.arena.data[d.arena.used:]
	payload, err := d.unpack.Decompress(free, b.Attributes.Codec(), b.Payload)
	if err != nil || len(payload) == 0 {
		return nil, err
	}
	d.ratio = max(len(payload)/len(b.Payload)+1, d.ratio-d.ratio/8)
	if &payload[0] != &free[0] { // it outgrew the room
		d.arena.drop()
		d.arena = d.mem.wrap(payload)
	}
	d.arena.used += len(payload)
	return payload, nil
}

func (d *decoder) renew(size int) {
	if d.arena != nil {
		d.arena.drop()
	}
	d.arena = d.mem.block(size)
}

// add makes a record of the current one.
func (f *fetcher) add(out *batch, lies *block) error {
	r := &f.record
	if len(r.Value) == 0 {
		f.s.skipped.Add(1)
		return nil
	}
	record := pipeline.Record{Value: r.Value, Key: r.Key, Offset: r.Offset}
	if r.Time > 0 {
		record.Time = time.UnixMilli(r.Time).UTC()
	} else {
		record.Time = f.s.clock.Now()
	}
	if r.HeaderCount > 0 {
		begin := len(out.headers)
		for r.HeaderCount > 0 {
			key, value, _, err := r.NextHeader()
			if err != nil {
				return err
			}
			out.headers = append(out.headers, pipeline.Header{Key: f.headerName(key), Value: value})
		}
		record.Headers = out.headers[begin:len(out.headers):len(out.headers)]
	}
	out.Records = append(out.Records, record)
	out.size += uint64(len(r.Key) + len(r.Value))
	out.lies(lies)
	return nil
}

// headerName returns a header's name, the same string for the same name.
func (d *decoder) headerName(key []byte) string {
	if name, ok := d.headers[string(key)]; ok {
		return name
	}
	name := string(key)
	if len(d.headers) < maxHeaderNames {
		d.headers[name] = name
	}
	return name
}

// emit hands a batch to the pipeline, unless it is empty.
func (f *fetcher) emit(ctx context.Context, b *batch) error {
	n, size := uint64(len(b.Records)), b.size
	if n == 0 {
		b.Release()
		return nil
	}
	f.s.note(f.part, f.next, b.HighWatermark)
	b.Partition, b.Module, b.Labels = f.part, "kafka", f.s.config.Labels
	if err := f.out(ctx, &b.RecordBatch); err != nil {
		return &emitError{err}
	}
	f.s.records.Add(n)
	f.s.bytes.Add(size)
	return nil
}
