package app

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/pipeline"
	"sluice/sinks/outbox"
)

// Status is a running pipeline at a glance.
type Status struct {
	pipeline.BatchStats
	Overflows, Whitelisted, Alerts, Decisions, Lost uint64
	// Allowlisted counts the alerts on which nothing was decided for an allow-list.
	Allowlisted uint64
	Buckets     int64
	// Lag is what the sources have yet to read, of those that can say.
	Lag int64
	// Behind is how long the oldest record has waited to be read, of the sources that can say.
	Behind time.Duration
	// Drops counts what the sources refused or threw away, by source and reason.
	Drops map[string]map[string]uint64
	// Redelivered counts the records, by source, that came once more and may have been counted twice.
	Redelivered map[string]uint64
	// Connections is how many peers are connected to the sources at the moment.
	Connections int64
	// Waiting is how many alerts wait in the outbox, counted once a sink.
	Waiting int
	// LeftAlone are the sinks that a circuit breaker leaves alone, or probes.
	LeftAlone []string
	// Dead counts what went to the dead letters, by kind and reason.
	Dead map[string]uint64
	// Clock is the highest event time seen.
	Clock time.Time
	// IdleSteps counts how often lines stopped waiting for an idle partition
	// (order: merged): above 0 their order is not that of every run.
	IdleSteps uint64
	// State is nil without durable state.
	State *StateStatus
}

// Status returns a snapshot; any goroutine may call it.
func (p *Pipeline) Status() Status {
	p.stats.mu.Lock()
	s := Status{Clock: p.stats.clock}
	s.BatchStats.Add(&p.stats.BatchStats)
	s.Dead = maps.Clone(p.stats.dead)
	p.stats.mu.Unlock()
	if p.durable != nil {
		for _, o := range p.durable.deliverer.Stats() {
			s.Waiting += o.Waiting
			if o.Breaker != outbox.BreakerClosed {
				s.LeftAlone = append(s.LeftAlone, fmt.Sprintf("%s (breaker %s)", o.Sink, o.Breaker))
			}
		}
	}
	s.Overflows, s.Whitelisted = p.stats.overflows.Load(), p.stats.whitelisted.Load()
	s.Allowlisted = p.stats.allowlisted.Load()
	s.Alerts, s.Decisions, s.Lost = p.stats.alerts.Load(), p.stats.decisions.Load(), p.stats.lost.Load()
	s.Buckets, s.IdleSteps = p.gauges.Buckets.Load(), p.stats.idleSteps.Load()
	s.State = p.stateStatus()
	for _, src := range p.sources {
		stats := src.Stats()
		for _, part := range stats.Partitions {
			s.Lag += max(0, part.Lag())
		}
		s.Behind = max(s.Behind, stats.Behind)
		s.Connections += stats.Connections
		if len(stats.Drops) > 0 {
			s.Drops = with(s.Drops, src.Name(), stats.Drops)
		}
		if stats.Redelivered > 0 {
			s.Redelivered = with(s.Redelivered, src.Name(), stats.Redelivered)
		}
	}
	return s
}

// with is a map with one entry more, made if need be.
func with[V any](m map[string]V, key string, value V) map[string]V {
	if m == nil {
		m = make(map[string]V)
	}
	m[key] = value
	return m
}

// redelivered is the sum of all sources'.
func (s Status) redelivered() (n uint64) {
	for _, of := range s.Redelivered {
		n += of
	}
	return n
}

// dropped is the sum of all drops.
func (s Status) dropped() (n uint64) {
	for _, reasons := range s.Drops {
		for _, of := range reasons {
			n += of
		}
	}
	return n
}

// line renders the status, with the rate since the one before.
func (s Status) line(before Status, over time.Duration) string {
	rate := 0.0
	if over > 0 {
		rate = float64(s.Lines-before.Lines) / over.Seconds()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s lines/s · lag %s · %s lines, %s unparsed · %s buckets · %s alerts",
		short(rate), short(float64(s.Lag)), short(float64(s.Lines)), short(float64(s.Unparsed)),
		short(float64(s.Buckets)), short(float64(s.Alerts)))
	if s.Behind >= time.Second {
		fmt.Fprintf(&b, " · %v behind", s.Behind.Truncate(time.Second))
	}
	if s.Connections > 0 {
		fmt.Fprintf(&b, " · %s connected", short(float64(s.Connections)))
	}
	if n := s.dropped(); n > 0 {
		fmt.Fprintf(&b, " · %s dropped by sources", short(float64(n)))
		if now := n - before.dropped(); now > 0 {
			fmt.Fprintf(&b, ", %s just now", short(float64(now)))
		}
	}
	if n := s.redelivered(); n > 0 {
		fmt.Fprintf(&b, " · %s delivered again", short(float64(n)))
	}
	if s.Waiting > 0 {
		fmt.Fprintf(&b, " · %s wait for sinks", short(float64(s.Waiting)))
	}
	if len(s.LeftAlone) > 0 {
		fmt.Fprintf(&b, " · left alone: %s", strings.Join(s.LeftAlone, ", "))
	}
	if s.Lost > 0 {
		fmt.Fprintf(&b, " · %d overflows without an alert", s.Lost)
	}
	if s.IdleSteps > 0 {
		fmt.Fprintf(&b, " · %d steps over idle partitions", s.IdleSteps)
	}
	if s.State != nil {
		b.WriteString(s.State.line())
	}
	return b.String()
}

// short writes a number in at most five characters or so.
func short(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.1fk", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

// StatusLine keeps one line at the bottom of a terminal and lets other
// writers print above it.
type StatusLine struct {
	mu   sync.Mutex
	out  io.Writer
	line string
}

// NewStatusLine returns a status line on a terminal.
func NewStatusLine(out io.Writer) *StatusLine { return &StatusLine{out: out} }

const clearLine = "\r\x1b[K"

// Write prints text above the status line: whole lines come out as they are.
func (l *StatusLine) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.out, clearLine); err != nil {
		return 0, err
	}
	n, err := l.out.Write(text)
	if err == nil && strings.HasSuffix(string(text), "\n") {
		_, err = io.WriteString(l.out, l.line)
	}
	return n, err
}

// Set replaces the line; "" takes it away.
func (l *StatusLine) Set(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = line
	_, _ = io.WriteString(l.out, clearLine+line) // a terminal that is gone is no reason to stop
}

// Report shows the status every interval until ctx is done: on the status
// line, or, when line is nil, in the log.
func (p *Pipeline) Report(ctx context.Context, line *StatusLine, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	before, at := p.Status(), time.Now()
	for {
		select {
		case <-ctx.Done():
			if line != nil {
				line.Set("")
			}
			return
		case now := <-ticker.C:
			s := p.Status()
			text := s.line(before, now.Sub(at))
			before, at = s, now
			if line != nil {
				line.Set(text)
			} else {
				p.log.Info("status", "pipeline", p.config.Name, "status", text)
			}
		}
	}
}

// logLosses says at the end what came to nothing, and why. Lines that no
// parser takes are not among it: most logs hold some.
func (p *Pipeline) logLosses() {
	s := p.Status()
	if s.Lost > 0 {
		p.log.Warn("overflows made no alert; --verbose shows each", "overflows", s.Lost)
	}
	if s.IdleSteps > 0 {
		p.log.Warn("lines did not wait for idle partitions: their order is not that of every run", "steps", s.IdleSteps)
	}
	if s.State != nil {
		s.State.losses(func(what string, n uint64) { p.log.Warn(what, "count", n) })
	}
	for _, source := range slices.Sorted(maps.Keys(s.Drops)) {
		for _, reason := range slices.Sorted(maps.Keys(s.Drops[source])) {
			p.log.Warn("a source dropped something", "source", source, "reason", reason, "count", s.Drops[source][reason])
		}
	}
	for _, source := range slices.Sorted(maps.Keys(s.Redelivered)) {
		p.log.Info("records were delivered again, and may have been counted twice", "source", source, "count", s.Redelivered[source])
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Errors)) {
		p.log.Warn("lines or records could not be used", "reason", reason, "count", s.Errors[reason])
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Dead)) {
		p.log.Info("records and lines went to the dead letters", "reason", reason, "count", s.Dead[reason])
	}
	p.logUndelivered()
}

// logUndelivered says which sinks did not get all alerts that were for them.
func (p *Pipeline) logUndelivered() {
	for _, s := range p.sinks {
		if n := s.Stats().Rejected; n > 0 {
			p.log.Warn("a sink refused alerts for good", "sink", s.Name(), "alerts", n)
		}
		if n := s.Stats().Expired; n > 0 {
			p.log.Warn("decisions ran out before they could be delivered", "sink", s.Name(), "decisions", n)
		}
	}
	if p.durable == nil {
		return
	}
	for _, o := range p.durable.deliverer.Stats() {
		if o.GivenUp > 0 {
			p.log.Warn("alerts were given up: a sink did not take them (retry)", "sink", o.Sink, "alerts", o.GivenUp)
		}
		if o.OverQuota > 0 {
			p.log.Warn("too much waited for a sink, which lost its oldest", "sink", o.Sink, "alerts", o.OverQuota, "on_full", o.OnFull)
		}
	}
}
