package journald

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

const (
	// module is evt.Line.Module, as CrowdSec calls it.
	module = "journalctl"
	// mark is the intake's mark that holds the cursor, or fromBeginning.
	mark = "cursor"
	// fromBeginning stands where there was no entry yet when reading began, so
	// that the end of the journal was its beginning.
	fromBeginning = "beginning"

	// runRecords and runBytes bound the records that are put together.
	runRecords = 1000
	runBytes   = 1 << 20

	// doubtWait is how long a doubtful entry is given until it is read again.
	doubtWait = 100 * time.Millisecond
)

// errDoubt ends a journalctl that wrote entries which are to be read again.
var errDoubt = errors.New("entries were not whole")

// Source reads the journal. See the package's comment.
type Source struct {
	name   string
	config Config
	log    *slog.Logger
	clock  sources.Clock
	health *sources.Health
	intake *intake.Intake
	labels map[string]string

	skipped, cut atomic.Uint64

	doubted map[string]bool // cursors of entries behind the mark that were not whole; receive's own
}

// New makes the source. It runs nothing.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	in, err := intake.New(name, module, c.intake(), env)
	if err != nil {
		return nil, err
	}
	log := env.Log.With("source", name)
	labels := maps.Clone(c.Labels)
	if c.Emit == emitLine && labels["type"] == "" {
		if labels == nil {
			labels = make(map[string]string)
		}
		labels["type"] = "syslog"
	}
	return &Source{name: name, config: c, log: log, clock: env.Clock, health: sources.NewHealth(log), intake: in, labels: labels, doubted: make(map[string]bool)}, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer.
func (s *Source) Announce(tell func(...pipeline.Partition)) { s.intake.Announce(tell) }

// Run implements sources.Source. It ends with nil at the journal's end where
// it does not follow, and with a sentence when there is no journalctl to run.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	return s.intake.Run(ctx, from, out, s.receive)
}

// Commit implements sources.Source.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	return s.intake.Commit(ctx, next)
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	var stats sources.Stats
	s.intake.Fill(&stats)
	s.health.Fill(&stats)
	stats.Skipped += s.skipped.Load()
	stats.Cut += s.cut.Load()
	return stats
}

// Close implements sources.Source.
func (s *Source) Close() error { return s.intake.Close() }

// receive runs journalctl, again and again where it is to follow.
func (s *Source) receive(ctx context.Context) error {
	// The kernel ends journalctl with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	backoff := sources.Backoff{Clock: s.clock, Min: s.config.BackoffMin, Max: s.config.BackoffMax}
	for {
		progress, err := s.once(ctx)
		var stop *stopError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &stop):
			return stop.error
		case errors.Is(err, errDoubt):
			s.log.Debug("entries without a message are read again, which they may have by now", "entries", len(s.doubted))
			select {
			case <-s.clock.After(doubtWait):
			case <-ctx.Done():
			}
			continue
		case missing(err):
			return fmt.Errorf("journald: %w; install systemd's journalctl, or name its path by the key command", err)
		case err == nil && !s.config.Follow:
			return nil
		case err == nil:
			err = errors.New("journalctl ended though it should follow")
		}
		if progress {
			backoff.Reset()
		}
		s.health.Failed("journalctl", err)
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// stopError is an error that ends the source.
type stopError struct{ error }

// once runs one journalctl to its end. progress says that it gave entries.
func (s *Source) once(ctx context.Context) (progress bool, err error) {
	cursor := s.intake.Marks()[mark]
	if cursor == "" && s.config.Follow && s.config.Start == startEnd && s.config.Since == "" {
		if cursor, err = s.end(ctx); err != nil {
			return false, err
		}
		if err := s.intake.PutWait(ctx, intake.Entry{Marks: map[string]string{mark: cursor}}); err != nil {
			return false, &stopError{err}
		}
	}
	if cursor == fromBeginning {
		cursor = ""
	}
	p, err := startProcess(ctx, s.config.Command, s.config.reading(cursor), s.log)
	if err != nil {
		return false, err
	}
	progress, err = s.read(ctx, p.out, cursor)
	ended := p.end(err == nil)
	if ended != nil && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) {
		err = ended
	}
	return progress, err
}

// end returns the cursor of the journal's last entry, or fromBeginning.
func (s *Source) end(ctx context.Context) (string, error) {
	p, err := startProcess(ctx, s.config.Command, s.config.last(), s.log)
	if err != nil {
		return "", err
	}
	cursor := fromBeginning
	d := newDecoder(p.out, nil, 0)
	for err == nil {
		var e *entry
		if e, err = d.next(); err == nil {
			cursor = e.cursor
		}
	}
	ended := p.end(err == io.EOF)
	switch {
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return "", err
	case ended != nil:
		return "", ended
	}
	return cursor, nil
}

// read puts the entries of a journalctl into the intake, until its output ends
// (nil) or is broken. It ends with errDoubt once it has put all before an entry
// that is to be read again.
func (s *Source) read(ctx context.Context, from io.Reader, cursor string) (progress bool, err error) {
	d := newDecoder(from, append(keptFields, s.config.Headers...), int(s.config.MaxMessageBytes))
	r := run{s: s, Entry: intake.Entry{Labels: s.labels}}
	for {
		e, err := d.next()
		if err == io.EOF {
			return progress, r.put(ctx)
		}
		if err != nil {
			// What came whole before it is not lost: it is read again behind the last mark.
			return progress, err
		}
		s.health.Well("journalctl")
		if e.cursor == cursor {
			cursor = ""
			continue // it was read in an earlier run
		}
		progress = true
		if e.doubtful() && !s.doubted[e.cursor] {
			if err := r.put(ctx); err != nil {
				return progress, err
			}
			return progress, s.doubt(d, e)
		}
		r.add(e)
		if d.waiting() || len(r.Records) >= runRecords || r.size >= runBytes {
			if err := r.put(ctx); err != nil {
				return progress, err
			}
		}
	}
}

// doubt notes which entries are doubtful, from e on, as far as there are more
// at hand: all of them are read again at once.
func (s *Source) doubt(d *decoder, e *entry) (err error) {
	for n := 1; ; n++ {
		if e.doubtful() {
			s.doubted[e.cursor] = true
		}
		if d.waiting() || n >= runRecords {
			return errDoubt
		}
		if e, err = d.next(); err != nil {
			return errDoubt // the next journalctl tells
		}
	}
}

// run is entries that are put into the intake together, with the cursor of the last.
type run struct {
	s *Source
	intake.Entry
	size int
	last string
}

func (r *run) add(e *entry) {
	r.last = e.cursor
	if e.cut {
		r.s.cut.Add(1)
	}
	if rec, ok := r.s.record(e); ok {
		r.Records = append(r.Records, rec)
		r.size += len(rec.Value)
	} else {
		r.s.skipped.Add(1)
	}
}

// put puts the run, if there is any, and begins the next.
func (r *run) put(ctx context.Context) error {
	if r.last == "" {
		return nil
	}
	r.Marks = map[string]string{mark: r.last}
	if err := r.s.intake.Put(ctx, r.Entry, nil); err != nil {
		return &stopError{err}
	}
	*r = run{s: r.s, Entry: intake.Entry{Labels: r.s.labels}}
	clear(r.s.doubted) // all of those are behind
	return nil
}
