package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// blockBytes is about how much memory the records of one batch lie in.
const blockBytes = 256 << 10

// deadBytes is how much of a record that is too long goes to the dead letters.
const deadBytes = 64 << 10

// reader reads objects one after the other, in the order of their numbers,
// and emits their records. It is one goroutine's.
type reader struct {
	s     *Source
	out   sources.Emit
	run   func(func() error) // starts a goroutine of the run
	batch *pipeline.RecordBatch
	block []byte

	denied int // objects in a row to which access was denied
}

// object reads one object from a record on. d is its download, which it ends;
// nil where there is nothing to fetch. An error ends the run.
func (r *reader) object(ctx context.Context, seq, index int64, ref Ref, d *download) error {
	defer func() {
		if d != nil {
			d.end()
		}
	}()
	behind := offsetOf(seq+1, 0)
	if ref.Flaw != "" {
		return r.dead(ctx, seq, index, &ref, time.Unix(ref.Found, 0), &flaw{reason: reasonNotice, err: errors.New(ref.Flaw)}, 0)
	}
	treatment := r.s.treat(ref.Key)
	if treatment.Skip != "" {
		r.s.drop(treatment.Skip)
		return r.emit(ctx, &pipeline.RecordBatch{Next: behind})
	}
	backoff := sources.Backoff{Clock: r.s.clock, Min: backoffMin, Max: backoffMax}
	for try := 1; ; try++ {
		err := r.attempt(ctx, seq, &index, &treatment, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var f *flaw
		if !errors.As(err, &f) {
			if err == nil {
				r.access(&ref, nil)
			}
			return err
		}
		patient := !f.final && (try < r.s.config.Tries || r.access(&ref, f))
		if !patient {
			return r.dead(ctx, seq, index, &ref, r.timeOf(d), f, try)
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
		d.end()
		d = r.s.download(ctx, r.run, ref)
	}
}

// deniedAtOnce is how many objects in a row may be denied before that is taken
// for what it then is: a permission that the source lacks.
const deniedAtOnce = 3

// access tells whether a flaw is to be waited for: one denied object is the
// object's matter, but if nothing can be read, sending all to the dead letters helps nobody.
func (r *reader) access(ref *Ref, f *flaw) (wait bool) {
	if f == nil || f.reason != reasonDenied {
		r.denied = 0
		r.s.health.Well(accessHealth)
		return false
	}
	if r.denied++; r.denied <= deniedAtOnce {
		return false
	}
	r.s.health.Failed(accessHealth, fmt.Errorf("access is denied to one object after the other, now %s; "+
		"grant s3:GetObject (and kms:Decrypt), or exclude such keys: %w", ref, f.err))
	return true
}

const accessHealth = "access to objects"

// timeOf returns when the object was written, as far as that is known.
func (r *reader) timeOf(d *download) time.Time {
	if d.modified.IsZero() {
		return time.Unix(d.ref.Found, 0).UTC()
	}
	return d.modified
}

// attempt reads the object to its end and emits the records from index on,
// which it moves. An error that wraps a *flaw is the object's fault.
func (r *reader) attempt(ctx context.Context, seq int64, index *int64, how *Treatment, d *download) error {
	text, err := unpack(d, r.s.limits())
	if err != nil {
		return r.fault(ctx, seq, *index, how, d, err)
	}
	defer text.close()
	cut := how.splitter(text, int(r.s.config.MaxRecordBytes))
	from := *index
	for at := int64(0); ; at++ {
		p, err := cut.next()
		if err == io.EOF {
			if at < from {
				err = &flaw{reason: reasonFormat, err: fmt.Errorf("it has %d records, and %d of it were read before", at, from), final: true}
				return r.fault(ctx, seq, *index, how, d, err)
			}
			r.count(cut)
			return r.flush(ctx, how, offsetOf(seq+1, 0))
		}
		if err != nil {
			return r.fault(ctx, seq, *index, how, d, err)
		}
		if at < from {
			continue
		}
		if at == MaxRecords-1 { // the last index has its place behind it
			return r.fault(ctx, seq, *index, how, d, &flaw{reason: reasonTooMany, err: fmt.Errorf("it holds more than %d", at), final: true})
		}
		if err := r.add(ctx, seq, at, how, d, p); err != nil {
			return err
		}
		*index = at + 1
	}
}

// fault emits what was read before an error, and says whose fault it is.
func (r *reader) fault(ctx context.Context, seq, index int64, how *Treatment, d *download, err error) error {
	if ferr := r.flush(ctx, how, offsetOf(seq, index)); ferr != nil {
		return ferr
	}
	var f *flaw
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &f): // the download's, or a limit
		return f
	case errors.Is(err, errFormat):
		return &flaw{reason: reasonFormat, err: err}
	}
	return &flaw{reason: reasonPacked, err: err}
}

// add puts a record into the batch.
func (r *reader) add(ctx context.Context, seq, at int64, how *Treatment, d *download, p piece) error {
	when := p.time
	if when.IsZero() {
		when = r.timeOf(d)
	}
	if p.size > len(p.value) && how.Entries { // a part of it is nothing
		r.s.drop(reasonLong)
		f := &flaw{reason: reasonLong, err: fmt.Errorf("record %d is %d bytes long and max_record_bytes is %v", at, p.size, r.s.config.MaxRecordBytes)}
		letter := r.letter(seq, at, &d.ref, when, f, 1)
		letter.Value, letter.Size = append([]byte(nil), p.value[:min(len(p.value), deadBytes)]...), p.size
		r.open(how)
		r.batch.Dead = append(r.batch.Dead, letter)
		return r.flush(ctx, how, offsetOf(seq, at+1))
	}
	if p.size > len(p.value) {
		r.s.cut.Add(1)
	}
	if r.batch != nil && len(r.block)+len(p.value) > cap(r.block) {
		if err := r.flush(ctx, how, offsetOf(seq, at)); err != nil {
			return err
		}
	}
	r.open(how)
	start := len(r.block)
	r.block = append(r.block, p.value...) // a record longer than a block has one of its own
	r.batch.Records = append(r.batch.Records, pipeline.Record{
		Value: r.block[start:len(r.block):len(r.block)], Key: d.key, Offset: offsetOf(seq, at), Time: when,
	})
	if len(r.batch.Records) >= r.s.config.BatchRecords {
		return r.flush(ctx, how, offsetOf(seq, at+1))
	}
	return nil
}

// open begins a batch unless one is begun.
func (r *reader) open(how *Treatment) {
	if r.batch != nil {
		return
	}
	b := r.s.blocks.Get().(*block)
	r.batch, r.block = &b.batch, b.bytes[:0]
	r.batch.Labels = how.Labels
}

// flush emits the batch, if one is begun, and says where reading stands.
func (r *reader) flush(ctx context.Context, how *Treatment, next int64) error {
	b := r.batch
	if b == nil {
		b = &pipeline.RecordBatch{}
	}
	b.Next = next
	r.batch, r.block = nil, nil
	return r.emit(ctx, b)
}

// emit gives a batch to the pipeline.
func (r *reader) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	s := r.s
	b.Partition, b.Module = s.partition, s.format.Module
	n, size, next := uint64(len(b.Records)), uint64(0), b.Next
	for i := range b.Records {
		size += uint64(len(b.Records[i].Value))
	}
	b.HighWatermark = s.high(next)
	if err := r.out(ctx, b); err != nil { // it is the pipeline's now
		return err
	}
	s.records.Add(n)
	s.bytes.Add(size)
	s.progress(next)
	return nil
}

// dead sends an object to the dead letters; reading goes on behind it.
func (r *reader) dead(ctx context.Context, seq, index int64, ref *Ref, when time.Time, f *flaw, tries int) error {
	r.s.drop(f.reason)
	r.s.log.Warn("an object, or the rest of it, cannot be read and goes to the dead letters",
		"object", ref.String(), "reason", f.reason, "error", f.err, "records_read", index, "tries", tries)
	letter := r.letter(seq, index, ref, when, f, tries)
	return r.emit(ctx, &pipeline.RecordBatch{Dead: []pipeline.DeadLetter{letter}, Next: offsetOf(seq+1, 0)})
}

// letter is the dead letter of an object, or of a record in it.
func (r *reader) letter(seq, index int64, ref *Ref, when time.Time, f *flaw, tries int) pipeline.DeadLetter {
	value := []byte(ref.Body)
	if ref.Flaw == "" {
		value, _ = json.Marshal(deadObject{ref.Bucket, ref.Key, ref.Version, ref.ETag, ref.Size, f.err.Error(), index, tries}) // of strings and numbers
	}
	return pipeline.DeadLetter{
		Kind: pipeline.DeadUnreadable, Reason: f.reason, Time: when, Value: value, Size: len(value), Key: []byte(ref.Key),
		Position: pipeline.Position{Partition: r.s.partition, Offset: offsetOf(seq, index), Line: -1},
		Headers: []pipeline.Header{
			{Key: "bucket", Value: []byte(ref.Bucket)}, {Key: "key", Value: []byte(ref.Key)},
			{Key: "error", Value: []byte(f.err.Error())}, {Key: "tries", Value: []byte(strconv.Itoa(tries))},
		},
	}
}

// deadObject is what a dead letter says of an object: enough to find it and to announce it again.
type deadObject struct {
	Bucket  string `json:"bucket"`
	Key     string `json:"key"`
	Version string `json:"version,omitempty"`
	ETag    string `json:"etag,omitempty"`
	Size    int64  `json:"size,omitempty"`
	Error   string `json:"error"`
	// Records is how many of its records were read before.
	Records int64 `json:"records_read"`
	Tries   int   `json:"tries"`
}

// count takes a splitter's counts.
func (r *reader) count(cut splitter) {
	if l, ok := cut.(*lines); ok {
		r.s.skipped.Add(l.skipped)
	}
}

// block is a batch with the memory that its records lie in.
type block struct {
	batch pipeline.RecordBatch
	bytes []byte
}
