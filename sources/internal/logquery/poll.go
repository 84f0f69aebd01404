package logquery

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// entryRecords is the most lines of an entry of the intake.
const entryRecords = 1000

// what is told to fail.
const what = "the query"

// poller reads in passes: from the place to the present, page by page, and
// after a while again. It is one goroutine's.
type poller struct {
	*Source
	client  *client
	backoff sources.Backoff
	until   int64 // nanoseconds; where a source that does not follow ends

	from   int64 // the place, in nanoseconds: lines of this time and later are read
	seen   seen
	ready  bool
	narrow bool // the overlap is cut short at the moment

	limit int // how many lines are asked for at the moment

	// Of the pass.
	at     int64          // where the next page begins
	end    int64          // where the pass ends
	before map[lineID]int // of the lines since at: how many equal ones there were
}

// run reads until the end, or until ctx is done or the intake fails. Trouble
// with the database is waited out.
func (p *poller) run(ctx context.Context) error {
	for {
		p.at, p.end = p.from, p.clock.Now().UnixNano()
		if !p.config.Follow {
			p.end = p.until
		}
		for p.at < p.end {
			if err := p.page(ctx); err != nil {
				return err
			}
		}
		p.narrowed(false)
		if !p.config.Follow {
			return nil
		}
		select {
		case <-p.clock.After(p.config.PollInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// page reads one page. Its error ends the source.
func (p *poller) page(ctx context.Context) error {
	to := min(p.end, p.at+int64(p.config.Window))
	lines, err := p.ask(ctx, p.at, to)
	var refused *refusedError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errTooLarge) && p.limit > 1:
		p.limit /= 2
		return nil
	case p.limit > p.config.Limit && errors.As(err, &refused) && refused.status/100 == 4:
		p.beyond() // it does not give more at once
		return nil
	case err != nil:
		p.health.Failed(what, err)
		return p.backoff.Wait(ctx)
	}
	p.health.Well(what)
	p.backoff.Reset()
	full := len(lines) >= p.limit
	lines = slices.DeleteFunc(lines, func(l Line) bool { return l.At < p.at || l.At > to })
	slices.SortStableFunc(lines, func(a, b Line) int { return compare(a.At, b.At) })
	if err := p.take(ctx, lines); err != nil {
		return err
	}
	switch {
	case !full:
		p.at = to
		p.limit = p.config.Limit
	case len(lines) == 0 || lines[len(lines)-1].At == p.at:
		// As many lines as may be asked for have one time: there may be more of them.
		p.crowded()
		return nil
	default:
		p.at = lines[len(lines)-1].At // again, since the page may have ended among equal times
	}
	return p.move(ctx)
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// mostCrowded is how many lines of one time are asked for, at most.
const mostCrowded = 1 << 20

// crowded goes on where more lines have one time than were asked for: with
// more of them, or, when the database does not give more, behind them.
func (p *poller) crowded() {
	if p.limit < mostCrowded && p.limit < 64*p.config.Limit {
		p.limit *= 2
		return
	}
	p.beyond()
}

// beyond goes on behind the time at which the page begins.
func (p *poller) beyond() {
	p.gaps.Add(1)
	p.log.Warn("more lines have one time than the database gives at once: those beyond are left out", "time", time.Unix(0, p.at).UTC())
	p.at++
	p.limit = p.config.Limit
}

// ask makes sure that the database is ready, and asks for a page.
func (p *poller) ask(ctx context.Context, from, to int64) ([]Line, error) {
	if !p.ready && !p.config.NoReadyCheck {
		if _, err := p.client.get(ctx, p.backend.Ready(), nil); err != nil {
			return nil, err
		}
	}
	p.ready = true
	path, values := p.backend.Request(p.config.Query, from, to, p.limit)
	answer, err := p.client.get(ctx, path, values)
	if err != nil {
		return nil, err
	}
	return p.backend.Decode(answer)
}

// take puts the lines of a page that are new into the intake, each run of them
// with their ids. It blocks while the pipeline is full.
func (p *poller) take(ctx context.Context, lines []Line) error {
	// The page holds all lines of its first time, so equal ones are counted anew.
	p.before = make(map[lineID]int)
	var records []pipeline.Record
	var c chunk
	flush := func() error {
		if len(c.ids) == 0 {
			return nil
		}
		c.number = p.seen.next
		p.seen.add(c)
		e := intake.Entry{Labels: p.config.Labels, Records: records, Marks: map[string]string{seenPrefix + strconv.Itoa(c.number): c.String()}}
		records, c = nil, chunk{}
		return p.intake.Put(ctx, e, nil)
	}
	for i := range lines {
		l := &lines[i]
		same := idOf(l, 0)
		id := same
		if n := p.before[same]; n > 0 {
			id = idOf(l, n)
		}
		p.before[same]++
		if p.seen.has(id) {
			continue
		}
		if len(l.Text) == 0 {
			p.skipped.Add(1)
		} else {
			records = append(records, p.record(l))
		}
		c.ids, c.newest = append(c.ids, id), max(c.newest, l.At)
		if len(c.ids) == entryRecords {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (p *poller) record(l *Line) pipeline.Record {
	text := l.Text
	if limit := int(p.config.MaxLineBytes); len(text) > limit {
		text = text[:limit]
		p.cut.Add(1)
	}
	return pipeline.Record{Value: text, Time: time.Unix(0, l.At).UTC(), Headers: l.Headers}
}

// move moves the place on to where the pass is, but no nearer to the present
// than the overlap, unless too many lines would have to be remembered, and
// forgets the lines that nobody will ask for again.
func (p *poller) move(ctx context.Context) error {
	now := p.clock.Now().UnixNano()
	p.behind.Store(max(0, min(p.end, now)-p.at))
	to := min(p.at, now-int64(p.config.Overlap))
	if shortest := min(p.seen.bound(to, p.config.MaxRemembered), p.at); shortest > to {
		to = shortest
		p.narrowed(true)
	}
	if to <= p.from {
		return nil
	}
	p.from = to
	marks := map[string]string{fromMark: strconv.FormatInt(p.from, 10)}
	p.seen.forget(p.from, func(number int) { marks[seenPrefix+strconv.Itoa(number)] = "" })
	return p.intake.Put(ctx, intake.Entry{Marks: marks}, nil)
}

// narrowed says once that the overlap is cut short, and once that it is not any more.
func (p *poller) narrowed(is bool) {
	switch {
	case is && !p.narrow:
		p.gaps.Add(1)
		p.log.Warn("more lines than max_remembered within the overlap: it is cut short, and lines that turn up late may be missed")
	case !is && p.narrow && len(p.seen.ids) < p.config.MaxRemembered/2:
		p.log.Info("the overlap is whole again")
	default:
		return
	}
	p.narrow = is
}
