package logquery

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// Line is a line that a query found.
type Line struct {
	// At is its time, in nanoseconds since 1970.
	At int64
	// Stream is what the line is beside its time and text, such as its labels, always written alike.
	Stream string
	// Text is the line itself. Its bytes are its own.
	Text []byte
	// Headers are those of the record. They may be shared with other lines.
	Headers []pipeline.Header
}

// Backend speaks the language of a database.
type Backend interface {
	// Ready is the path that answers whether the database is ready.
	Ready() string
	// Header is sent with every request; nil for none.
	Header() http.Header
	// Request returns the path and the query that ask for the first lines, no
	// more than limit, by time, of at least from and less than to. The answer may hold lines of to itself.
	Request(query string, from, to int64, limit int) (path string, values url.Values)
	// Decode reads an answer. Lines need not be sorted.
	Decode(answer []byte) ([]Line, error)
}

const (
	// fromMark is the mark that holds the place.
	fromMark = "from"
	// seenPrefix and the number are the mark of a chunk.
	seenPrefix = "seen/"
)

// Source reads what a query finds. See the package's comment.
type Source struct {
	name    string
	module  string
	config  Config
	backend Backend
	log     *slog.Logger
	clock   sources.Clock
	health  *sources.Health
	intake  *intake.Intake

	skipped, cut, gaps atomic.Uint64
	behind             atomic.Int64 // nanoseconds
}

// New makes a source of a valid configuration. It connects to nothing. module is evt.Line.Module.
func New(name, module string, c Config, b Backend, env sources.Env) (*Source, error) {
	env = env.Complete()
	in, err := intake.New(name, module, c.intake(), env)
	if err != nil {
		return nil, err
	}
	log := env.Log.With("source", name)
	return &Source{name: name, module: module, config: c, backend: b, log: log, clock: env.Clock, health: sources.NewHealth(log), intake: in}, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer.
func (s *Source) Announce(tell func(...pipeline.Partition)) { s.intake.Announce(tell) }

// Run implements sources.Source. It ends with nil where it does not follow and
// has read what there is, and with a sentence when files of the configuration cannot be used.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	client, err := newClient(&s.config, s.backend.Header())
	if err != nil {
		return err
	}
	defer client.close()
	return s.intake.Run(ctx, from, out, func(ctx context.Context) error {
		p := &poller{Source: s, client: client, limit: s.config.Limit, backoff: sources.Backoff{Clock: s.clock, Min: s.config.BackoffMin, Max: s.config.BackoffMax}}
		if err := p.begin(ctx); err != nil {
			return err
		}
		return p.run(ctx)
	})
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
	stats.Gaps += s.gaps.Load()
	stats.Behind = max(stats.Behind, time.Duration(s.behind.Load()))
	return stats
}

// Close implements sources.Source.
func (s *Source) Close() error { return s.intake.Close() }

// begin finds the place, or writes the first one down, so that a later start
// does not skip what came between.
func (p *poller) begin(ctx context.Context) error {
	p.seen = seen{ids: make(map[lineID]struct{})}
	now := p.clock.Now()
	until, err := instant(p.config.Until, now)
	if err != nil {
		return err
	}
	p.until = until.UnixNano()
	marks := p.intake.Marks()
	var chunks []chunk
	for mark, text := range marks {
		number, ok := strings.CutPrefix(mark, seenPrefix)
		if !ok {
			continue
		}
		c, err := parseChunk(number, text)
		if err != nil {
			return fmt.Errorf("%s: %w", p.module, err)
		}
		chunks = append(chunks, c)
	}
	slices.SortFunc(chunks, func(a, b chunk) int { return a.number - b.number })
	for _, c := range chunks {
		p.seen.add(c)
	}
	if text, ok := marks[fromMark]; ok {
		if p.from, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("%s: the journal holds %.40q as the place, which this version does not understand", p.module, text)
		}
		return nil
	}
	since, err := instant(p.config.Since, now)
	if err != nil {
		return err
	}
	p.from = since.UnixNano()
	return p.intake.PutWait(ctx, intake.Entry{Marks: map[string]string{fromMark: strconv.FormatInt(p.from, 10)}})
}
