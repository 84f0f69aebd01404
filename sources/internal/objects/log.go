package objects

import (
	"context"
	"errors"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/journal"
)

// manifestSegment is the size of a file of the manifest: what is remembered
// for long is small, and goes a file at a time.
const manifestSegment = 8 << 20

// journalLog is a refLog in a journal: each reference is a record of its one stream.
type journalLog struct {
	j     *journal.Journal
	clock func() time.Time
}

// openJournal opens the journal in a folder.
func (s *Source) openJournal(dir string) (refLog, error) {
	j, err := journal.Open(journal.Options{
		Dir: dir, SegmentBytes: s.segment, MaxBytes: 1 << 40, // what is remembered bounds it
		Log: s.log, After: s.clock.After,
		Trouble: func(err error) {
			if err == nil {
				s.health.Well(manifestHealth)
			} else {
				s.health.Failed(manifestHealth, err)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return &journalLog{j: j, clock: s.clock.Now}, nil
}

const manifestHealth = "writing the manifest"

func (l *journalLog) run(ctx context.Context) error { return l.j.Run(ctx) }

func (l *journalLog) append(ctx context.Context, records [][]byte, marks map[string]string) error {
	e := journal.Entry{Records: make([]pipeline.Record, len(records)), Marks: marks}
	now := l.clock()
	for i := range records {
		e.Records[i] = pipeline.Record{Value: records[i], Time: now}
	}
	done := make(chan error, 1)
	if err := l.j.Append(ctx, &e, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done(): // a full disk may keep it waiting
		return ctx.Err()
	}
}

func (l *journalLog) ends() (first, next int64) {
	return l.j.Begins()[journal.Stream{}], l.j.End(journal.Stream{})
}

func (l *journalLog) marks() map[string]string { return l.j.Marks() }

func (l *journalLog) read(each func(seq int64, record []byte) error) (err error) {
	at, next := l.ends()
	r := l.j.Reader(nil)
	defer func() { err = errors.Join(err, r.Close()) }()
	for at < next {
		b, err := r.Next(context.Background()) // all of it is there
		if err != nil {
			return err
		}
		for i := range b.Records {
			if err := each(b.Records[i].Offset, b.Records[i].Value); err != nil {
				b.Release()
				return err
			}
			at = b.Records[i].Offset + 1
		}
		b.Release()
	}
	return nil
}

func (l *journalLog) trim(before int64) error {
	return l.j.Trim(map[journal.Stream]int64{{}: before})
}

func (l *journalLog) close() error { return l.j.Close(nil) }
