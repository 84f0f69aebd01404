package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"sluice/sources"
)

// The times that ListOffsets takes for the ends of a partition.
const (
	latestTime   = -1
	earliestTime = -2
)

// place finds where to begin: by start, for partitions that no checkpoint has.
func (f *fetcher) place(ctx context.Context) error {
	begin := f.s.config.Start
	if begin == StartCommitted {
		offset, err := f.s.committed(ctx, f.part)
		if err != nil {
			return err
		}
		if offset >= 0 {
			f.begin(offset)
			return nil
		}
		policy := f.s.config.OnReset.At(false)
		if policy == sources.ResetFail {
			return &finalError{fmt.Errorf("group %q has committed no offset; set on_reset: earliest or latest to begin there", f.s.config.Group)}
		}
		begin = string(policy)
	}
	if begin == StartLatest && f.start.late {
		begin = StartEarliest // what was written since it appeared is new
	}
	offset, err := f.offsetOf(ctx, begin)
	if err != nil {
		return err
	}
	f.begin(offset)
	return nil
}

// offsetOf returns the offset that earliest, latest or a time stands for.
func (f *fetcher) offsetOf(ctx context.Context, begin string) (int64, error) {
	isolation := f.s.config.isolation()
	switch begin {
	case StartEarliest:
		return f.listOffset(ctx, earliestTime, isolation)
	case StartLatest:
		return f.listOffset(ctx, latestTime, isolation)
	}
	at, err := time.Parse(time.RFC3339, begin)
	if err != nil {
		return 0, &finalError{err}
	}
	offset, err := f.listOffset(ctx, at.UnixMilli(), isolation)
	if err == nil && offset < 0 { // nothing is that young yet
		return f.listOffset(ctx, latestTime, isolation)
	}
	return offset, err
}

func (f *fetcher) begin(offset int64) {
	f.next, f.placed = offset, true
	f.s.note(f.part, offset, -1)
}

// reset goes on where on_reset says after the offset asked for is not there.
// An offset at which durable state stands is not given up without a word: the
// records in between would be missing from the state.
func (f *fetcher) reset(ctx context.Context) error {
	first, err := f.listOffset(ctx, earliestTime, readUncommitted)
	if err != nil {
		return err
	}
	last, err := f.listOffset(ctx, latestTime, readUncommitted)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("offset %d is gone (earliest is %d)", f.next, first)
	if f.next > last {
		what = fmt.Sprintf("offset %d is past the end (latest is %d): the topic was made anew or cut back", f.next, last)
	} else if f.next >= first {
		return nil // it is there by now
	}
	held := f.start.resumed && !f.proven
	next := first
	switch f.s.config.OnReset.At(held) {
	case sources.ResetFail:
		if held {
			return &finalError{sources.HeldError(what, "records", f.part)}
		}
		return &finalError{errors.New(what + "; set on_reset: earliest to go on from the earliest, or latest")}
	case sources.ResetLatest:
		next = last
	}
	f.gap(what, next)
	f.begin(next)
	return nil
}

func (f *fetcher) gap(what string, next int64) {
	f.s.gaps.Add(1)
	f.s.log.Warn("records are missing", "topic", f.part.Topic, "partition", f.part.ID, "why", what, "next", next)
}

// anew goes on in a topic that was gone for a while and is there again:
// another one of the same name, whose offsets begin anew.
func (f *fetcher) anew() error {
	const what = "the topic was deleted and made anew"
	if f.s.config.OnReset.At(false) == sources.ResetFail {
		return &finalError{errors.New(what + "; set on_reset: earliest to read the new one")}
	}
	f.gap(what, 0)
	f.placed, f.start = false, start{late: true}
	f.next = 0
	return nil
}

// listOffset asks the leader for the offset of the first record from a time
// on, in ms, or of one of the ends; -1 when there is none.
func (f *fetcher) listOffset(ctx context.Context, at int64, isolation int8) (int64, error) {
	msg, err := f.conn.Ask(ctx, &listoffsets.Request{
		ReplicaID: -1, IsolationLevel: isolation,
		Topics: []listoffsets.RequestTopic{{Topic: f.part.Topic, Partitions: []listoffsets.RequestPartition{{
			Partition: f.part.ID, CurrentLeaderEpoch: f.leader.epoch, Timestamp: at,
		}}}},
	})
	if err != nil {
		return 0, fmt.Errorf("looking for an offset: %w", err)
	}
	for _, t := range msg.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			if t.Topic == f.part.Topic && p.Partition == f.part.ID {
				if p.ErrorCode != 0 {
					return 0, kafka.Error(p.ErrorCode)
				}
				return p.Offset, nil
			}
		}
	}
	return 0, errors.New("looking for an offset: the broker's answer leaves the partition out")
}
