package syslog

import (
	"context"
	"time"

	"sluice/sources/intake"
)

// Sizes of the buffers that streams are read into, and how many there are.
const (
	desks     = 16
	readBytes = 64 << 10
)

// desk is where what was read becomes records: a buffer to read into, a
// recorder and the batch that is being filled. It is one goroutine's at a time.
type desk struct {
	*Source
	rec   *recorder
	batch *batch
	buf   []byte
}

func (s *Source) newDesk() *desk { return &desk{Source: s, rec: newRecorder(s.form)} }

// buffer returns the desk's buffer with room for the unfinished bytes and a read behind them.
func (d *desk) buffer(unfinished int) []byte {
	if need := unfinished + readBytes; len(d.buf) < need {
		d.buf = make([]byte, need)
	}
	return d.buf
}

// tidy lets a buffer go that one long message has made large.
func (d *desk) tidy() {
	if len(d.buf) > 16*readBytes {
		d.buf = nil
	}
}

// add makes a record of a message, and counts what cannot be one.
func (d *desk) add(ctx context.Context, l *listener, msg, peer []byte, received time.Time) error {
	for {
		if d.batch == nil {
			d.batch = d.batches.take()
		}
		switch d.rec.add(d.batch, msg, peer, received) {
		case full:
			if err := d.flush(ctx, l); err != nil {
				return err
			}
			continue
		case empty:
			d.counters.skipped.Add(1)
		case malformed:
			d.counters.drop(dropMalformed)
		}
		return nil
	}
}

// flush puts the batch. It blocks while the pipeline or the journal is full.
func (d *desk) flush(ctx context.Context, l *listener) error {
	if d.batch == nil || len(d.batch.records) == 0 {
		return nil
	}
	b := d.batch
	d.batch = nil
	return d.in.Put(ctx, intake.Entry{Topic: l.text, Labels: d.labels, Records: b.records, Release: b.release}, nil)
}
