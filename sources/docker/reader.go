package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

const (
	// runRecords and runBytes bound the lines that are put together.
	runRecords = 1000
	runBytes   = 1 << 20
)

// reader reads the log of one container. It is one goroutine's.
type reader struct {
	*Source
	client  *client
	id      string
	name    string
	image   string
	labels  map[string]string
	place   *place
	backoff sources.Backoff

	records []pipeline.Record
	size    int
	moved   bool // the place is not the one that was put

	unreadable bool // its log cannot be read
}

// run reads the log until the container has stopped and all of its lines are
// read (nil), or ctx is done or the intake fails. Trouble with the engine is waited out.
func (r *reader) run(ctx context.Context) error {
	for {
		running, err := r.once(ctx)
		var stop *stopError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &stop):
			return stop.error
		case errors.Is(err, errGone):
			r.health.Forget(r.name)
			return nil
		case errors.Is(err, errUnreadable):
			r.health.Forget(r.name)
			r.unreadable = true
			r.log.Warn("a container is not read: choose others, or give it another logging driver", "container", r.name, "error", err)
			return nil
		case err == nil && !running:
			r.health.Well(r.name)
			return nil
		case err != nil:
			r.health.Failed(r.name, err)
		}
		if err := r.backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// stopError is an error that ends the source.
type stopError struct{ error }

// once reads the log once, to its end as it was when the container was last looked at.
func (r *reader) once(ctx context.Context) (running bool, err error) {
	d, err := r.client.inspect(ctx, r.id)
	if err != nil {
		return false, err
	}
	flag := func(b bool) []string {
		if b {
			return []string{"1"}
		}
		return []string{"0"}
	}
	query := url.Values{
		"stdout": flag(r.config.FollowStdout), "stderr": flag(r.config.FollowStderr), "timestamps": {"1"},
		"since": {r.place.from()}, "follow": flag(r.config.Follow && d.State.Running),
	}
	if !r.until.IsZero() {
		query.Set("until", fmt.Sprintf("%d.%09d", r.until.Unix(), r.until.Nanosecond()))
	}
	body, err := r.client.logs(ctx, r.id, query)
	if err != nil {
		return false, err
	}
	defer body.Close()
	r.health.Well(r.name)
	r.place.begin()
	if err := r.read(ctx, body, d); err != nil {
		return false, err
	}
	// Only what was not followed is known to be all: a log that is followed
	// ends with the container, and with the connection.
	return r.config.Follow && d.State.Running, nil
}

// read puts a log's lines into the intake.
func (r *reader) read(ctx context.Context, body io.Reader, d details) error {
	lines := newLineReader(body, d.Config.Tty, int(r.config.MaxLineBytes))
	each := func(l logLine) error {
		taken, gap := r.place.taken(&l)
		if gap {
			r.gaps.Add(1)
			r.log.Warn("a container's log is not what it was when it was read last: lines may be missing or come twice", "container", r.name)
		}
		if !taken {
			r.backoff.Reset()
			r.add(&l)
		}
		if lines.waiting() || len(r.records) >= runRecords || r.size >= runBytes {
			return r.flush(ctx)
		}
		return nil
	}
	err := lines.read(each)
	if err == nil && !d.State.Running {
		err = lines.rest(each)
	}
	var stop *stopError
	if errors.As(err, &stop) {
		return err
	}
	return errors.Join(r.flush(ctx), err)
}

func (r *reader) add(l *logLine) {
	r.place.take(l)
	r.moved = true
	if l.cut {
		r.cut.Add(1)
	}
	if len(l.text) == 0 {
		r.skipped.Add(1)
		return
	}
	r.records = append(r.records, pipeline.Record{
		Value: l.text, Time: l.at, Headers: []pipeline.Header{
			{Key: "container_name", Value: []byte(r.name)}, {Key: "container_id", Value: []byte(r.id)},
			{Key: "image", Value: []byte(r.image)}, {Key: "stream", Value: []byte(l.stream)},
		},
	})
	r.size += len(l.text)
}

// flush puts the lines together with the place behind them.
func (r *reader) flush(ctx context.Context) error {
	if !r.moved {
		return nil
	}
	e := intake.Entry{Labels: r.labels, Records: r.records, Marks: map[string]string{placePrefix + r.id: r.place.String()}}
	r.records, r.size, r.moved = nil, 0, false
	if err := r.intake.Put(ctx, e, nil); err != nil {
		return &stopError{err}
	}
	return nil
}
