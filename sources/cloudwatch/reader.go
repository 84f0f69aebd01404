package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// entryRecords is the most records of an entry of the intake, which is also
// the size of a chunk of ids.
const entryRecords = 1000

// How many requests in a row may fail before it counts as trouble: by being too
// many, since all clients of an account share what is allowed, or otherwise,
// since endpoints close connections that were idle.
const (
	patience      = 5
	otherPatience = 2
)

// reader reads one group in passes: from the place to the present, page by
// page, and after a while again. Its fields are its own goroutine's.
type reader struct {
	*supervisor
	group     string
	retention time.Duration

	from   int64 // milliseconds; what is older is read
	seen   *seen
	end    int64 // of the window; 0 is for ever
	narrow bool  // the overlap is cut short at the moment

	passFrom, passTo int64   // what the pass asks for, the same on all of its pages
	token            *string // of the pass's next page; nil where one begins
	cut              bool    // the overlap was cut short in this pass

	backoff sources.Backoff
	fails   int // requests in a row
}

func newReader(v *supervisor, f found, p *place, resumed bool) *reader {
	r := &reader{
		supervisor: v, group: f.name, from: p.from, seen: p.seen,
		backoff: sources.Backoff{Clock: v.clock, Min: v.config.BackoffMin, Max: v.config.BackoffMax},
	}
	if resumed {
		r.retention = f.retention // what was never read cannot be missed
	}
	if _, end, _ := v.config.window(); !end.IsZero() {
		r.end = end.UnixMilli()
	}
	return r
}

// run reads until the window ends, the group is gone (nil), ctx is done, the
// intake fails, or events are gone that the configuration wants to be told of.
func (r *reader) run(ctx context.Context) error {
	if err := r.checkRetention(); err != nil {
		return err
	}
	for {
		pause, done, err := r.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case done:
			return r.over(ctx)
		case pause < 0:
			err = r.backoff.Wait(ctx)
		case pause > 0:
			select {
			case <-r.clock.After(pause):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
}

// checkRetention finds out whether events are gone that were not read: those
// from the place that an earlier run came to until where the group begins now.
func (r *reader) checkRetention() error {
	oldest := r.clock.Now().Add(-r.retention).UnixMilli()
	if r.retention == 0 || r.from+r.config.Overlap.Milliseconds() >= oldest {
		return nil
	}
	at := time.UnixMilli(r.from).UTC().Format(time.RFC3339)
	if r.config.OnGap == gapFail {
		return fmt.Errorf("cloudwatch: %s: events since %s were not read, and the group keeps them for %v, so some may be lost; "+
			"set on_gap: skip to go on with what there is", r.group, at, r.retention)
	}
	r.gaps.Add(1)
	r.log.Error("events may be lost, which the group kept no longer; reading goes on with what there is", "group", r.group, "since", at)
	return nil
}

// over ends the reader.
func (r *reader) over(ctx context.Context) error {
	r.health.Forget(r.group)
	r.delays.Note(r.group, -1)
	if r.end > 0 {
		return nil
	}
	r.log.Info("a log group is gone", "group", r.group)
	marks := make(map[string]string)
	(&place{seen: r.seen}).marks(r.group, marks)
	if err := r.intake.Put(ctx, r.entry(marks), nil); err != nil {
		return err
	}
	select {
	case r.ended <- r.group:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// entry returns an entry of the group's partition.
func (r *reader) entry(marks map[string]string) intake.Entry {
	return intake.Entry{Topic: r.group, Labels: r.config.Labels, Marks: marks}
}

// turn reads one page, while it holds one of the slots. It returns how long to
// wait before the next; below 0 is for as long as the backoff says.
func (r *reader) turn(ctx context.Context) (pause time.Duration, done bool, err error) {
	if r.end > 0 && r.from >= r.end {
		return 0, true, nil
	}
	if err := r.pace.wait(ctx); err != nil {
		return 0, false, err
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
	if r.token == nil {
		// Not beyond the present: an event of the future is read when its time has come.
		r.cut = false
		r.passFrom, r.passTo = r.from, r.clock.Now().UnixMilli()
		if r.end > 0 {
			r.passTo = min(r.passTo, r.end)
		}
	}
	out, err := r.client.FilterLogEvents(ctx, r.request(), once)
	if err != nil {
		return r.failed(ctx, err)
	}
	r.health.Well(r.group)
	r.backoff.Reset()
	r.fails = 0
	if err := r.take(ctx, out.Events); err != nil {
		return 0, false, err
	}
	if r.token = out.NextToken; r.token != nil {
		return 0, false, nil
	}
	r.delays.Note(r.group, 0)
	if err := r.move(ctx, r.settled()); err != nil {
		return 0, false, err
	}
	r.narrowed(r.cut)
	return r.config.PollInterval, r.end > 0 && r.from >= r.end, nil
}

// request asks for the next page of the pass.
func (r *reader) request() *cloudwatchlogs.FilterLogEventsInput {
	in := &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &r.group, StartTime: &r.passFrom, EndTime: &r.passTo, NextToken: r.token, Limit: aws.Int32(mostEvents),
	}
	if r.config.StreamPrefix != "" {
		in.LogStreamNamePrefix = &r.config.StreamPrefix
	}
	if r.config.FilterPattern != "" {
		in.FilterPattern = &r.config.FilterPattern
	}
	return in
}

// once leaves trying again to the reader, which keeps to the common pace.
func once(o *cloudwatchlogs.Options) { o.Retryer = aws.NopRetryer{} }

// take puts a page's events that are new into the intake, each entry with the
// ids of its events. It blocks while the pipeline is full.
func (r *reader) take(ctx context.Context, events []types.FilteredLogEvent) error {
	var records []pipeline.Record
	var c chunk
	newest := int64(0)
	flush := func() error {
		if len(c.ids) == 0 {
			return nil
		}
		c.number = r.seen.next
		r.seen.add(c)
		e := r.entry(map[string]string{seenKey(r.group, c.number): c.String()})
		e.Records = records
		records, c = nil, chunk{}
		return r.intake.Put(ctx, e, nil)
	}
	for i := range events {
		e := &events[i]
		at := aws.ToInt64(e.Timestamp)
		newest = max(newest, at)
		id := idOf(e)
		if !r.wants(e, at) || r.seen.has(id) {
			continue
		}
		if aws.ToString(e.Message) == "" {
			r.skipped.Add(1)
		} else {
			records = append(records, r.record(e, at))
		}
		c.ids, c.newest = append(c.ids, id), max(c.newest, at)
		if len(c.ids) == entryRecords {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if newest == 0 {
		return nil
	}
	// Events come in the order of their times, so those before the page's
	// newest are read, but for late ones.
	r.delays.Note(r.group, time.Duration(max(0, r.passTo-newest))*time.Millisecond)
	return r.move(ctx, min(newest, r.settled()))
}

// settled is the time before which no event turns up any more.
func (r *reader) settled() int64 {
	return r.clock.Now().Add(-r.config.Overlap).UnixMilli()
}

// wants tells whether an event is in the window and in a stream that is read.
func (r *reader) wants(e *types.FilteredLogEvent, at int64) bool {
	return at >= r.passFrom && (r.end == 0 || at < r.end) &&
		(r.config.streams == nil || r.config.streams.MatchString(aws.ToString(e.LogStreamName)))
}

func (r *reader) record(e *types.FilteredLogEvent, at int64) pipeline.Record {
	out := pipeline.Record{
		Value: []byte(aws.ToString(e.Message)), Time: time.UnixMilli(at).UTC(),
		Headers: []pipeline.Header{
			{Key: "log_stream", Value: []byte(aws.ToString(e.LogStreamName))},
			{Key: "event_id", Value: []byte(aws.ToString(e.EventId))},
		},
	}
	if at <= 0 {
		out.Time = r.clock.Now()
	}
	return out
}

// move moves the place on to a time, further where too many ids would have to
// be remembered, and forgets the ids that nobody will ask for again.
func (r *reader) move(ctx context.Context, to int64) error {
	shortest := min(r.seen.shorten(to, r.config.MaxRemembered), r.passTo)
	if shortest > to {
		r.cut = true
		r.narrowed(true)
	}
	if r.end > 0 {
		shortest = min(shortest, r.end)
	}
	if shortest <= r.from {
		return nil
	}
	r.from = shortest
	marks := map[string]string{fromPrefix + r.group: strconv.FormatInt(r.from, 10)}
	r.seen.forget(r.from, func(number int) { marks[seenKey(r.group, number)] = "" })
	return r.intake.Put(ctx, r.entry(marks), nil)
}

// narrowed says once that the overlap is cut short, and once that it is not any more.
func (r *reader) narrowed(is bool) {
	switch {
	case is && !r.narrow:
		r.gaps.Add(1)
		r.log.Warn("more events than max_remembered within the overlap: it is cut short, and events that turn up late may be missed", "group", r.group)
	case !is && r.narrow:
		r.log.Info("the overlap is whole again", "group", r.group)
	}
	r.narrow = is
}

// failed decides what follows an error.
func (r *reader) failed(ctx context.Context, err error) (pause time.Duration, done bool, _ error) {
	var (
		gone      *types.ResourceNotFoundException
		invalid   *types.InvalidParameterException
		throttled *types.ThrottlingException
	)
	limit := otherPatience
	switch {
	case ctx.Err() != nil:
		return 0, false, ctx.Err()
	case errors.As(err, &gone) && r.searchedFor():
		return 0, true, nil
	case errors.As(err, &invalid) && r.token != nil:
		r.token = nil // it has expired: the pass begins again from the place
	case errors.As(err, &throttled):
		limit = patience
	}
	if r.fails++; r.fails >= limit {
		r.health.Failed(r.group, err)
	}
	return -1, false, nil
}

// searchedFor tells whether the group was found rather than named.
func (r *reader) searchedFor() bool {
	for _, name := range r.config.Groups {
		if name == r.group {
			return false
		}
	}
	return true
}

// pace keeps requests of all readers apart.
type pace struct {
	clock sources.Clock
	gap   time.Duration

	mu   sync.Mutex
	next time.Time
}

// wait waits for its turn.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := p.clock.Now()
	at := p.next
	if at.Before(now) {
		at = now
	}
	p.next = at.Add(p.gap)
	p.mu.Unlock()
	if !at.After(now) {
		return ctx.Err()
	}
	select {
	case <-p.clock.After(at.Sub(now)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
