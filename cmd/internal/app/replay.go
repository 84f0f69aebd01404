package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/stages/decode"
	"sluice/stages/engine"
)

// ReplayOptions say what is replayed and how.
type ReplayOptions struct {
	Config  *Config // its rules, profiles and pipeline settings
	Type    string  // the label `type` of every line
	Labels  map[string]string
	Workers int
	Shards  int
	Files   []string // "-" is standard input
	Out     io.Writer
	Log     *slog.Logger
}

// ReplayStats is what a replay did, under the names of --stats json.
type ReplayStats struct {
	Lines          uint64  `json:"lines"`
	Parsed         uint64  `json:"parsed"`
	Unparsed       uint64  `json:"unparsed"`
	Poured         uint64  `json:"poured"`
	Overflows      uint64  `json:"overflows"`
	Alerts         uint64  `json:"alerts"`
	Seconds        float64 `json:"seconds"`
	LinesPerSecond float64 `json:"lines_per_second"`
	PeakRSSBytes   int64   `json:"peak_rss_bytes"` // 0 where the system does not tell
}

// Replay runs files through the rules once, on event time, and writes the
// alerts as JSON lines in order of the records that caused them. Nothing is
// freed that an event from the past could still reach, so the alerts are a
// function of the rules and the lines.
func Replay(ctx context.Context, o ReplayOptions) (stats *ReplayStats, err error) {
	c := o.Config
	eng, skipped, err := c.Compile(o.Log, false)
	if err != nil {
		return nil, err
	}
	src, err := replaySource(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	p := &Pipeline{config: c, log: o.Log, engine: eng, Skipped: skipped}
	out := bufio.NewWriterSize(o.Out, 1<<16)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	decoding := decode.Default()
	decoding.Type, decoding.Labels = o.Type, o.Labels
	g, err := eng.Graph(engine.GraphOptions{
		Workers: goroutines(o.Workers), Shards: goroutines(o.Shards),
		BatchRecords: c.Pipeline.BatchRecords,
		Decode:       map[string]decode.Config{src.Name(): decoding},
		Lost: func(err error) {
			p.stats.lost.Add(1)
			o.Log.Debug("an overflow made no alert", "error", err)
		},
		Deliver: func(_ context.Context, batch *pipeline.Outcome) error {
			for _, it := range p.decideAll(batch) {
				if err := encoder.Encode(it.Alert); err != nil {
					return fmt.Errorf("writing alerts: %w", err)
				}
			}
			p.stats.add(batch)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	start := time.Now()
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return g.Run(ctx) })
	eg.Go(func() error {
		defer g.Close()
		return src.Run(ctx, nil, g.Emit)
	})
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	if err := out.Flush(); err != nil {
		return nil, fmt.Errorf("writing alerts: %w", err)
	}
	p.logLosses()
	return p.replayStats(time.Since(start)), nil
}

func (p *Pipeline) replayStats(took time.Duration) *ReplayStats {
	c := &p.stats
	s := &ReplayStats{
		Lines: c.Lines, Parsed: c.Parsed, Unparsed: c.Unparsed, Poured: c.Poured,
		Overflows: c.overflows.Load(), Alerts: c.alerts.Load(),
		Seconds: took.Seconds(), PeakRSSBytes: peakRSS(),
	}
	if s.Seconds > 0 {
		s.LinesPerSecond = float64(s.Lines) / s.Seconds
	}
	return s
}

// replaySource makes a file source of one pass. Every line's time of receipt
// is that of the newest file's last change, so that dates without a year come
// out the same in every run.
func replaySource(o ReplayOptions) (sources.Source, error) {
	var newest time.Time
	for _, f := range o.Files {
		if f == "-" {
			continue
		}
		info, err := os.Stat(f)
		if err != nil {
			if len(globbed(f)) > 0 {
				continue
			}
			return nil, fmt.Errorf("replay: %w", err)
		}
		if info.IsDir() {
			return nil, fmt.Errorf("replay: %s is a folder; name the files in it, such as %s", f, filepath.Join(f, "*.log"))
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	for _, f := range o.Files {
		for _, path := range globbed(f) {
			if info, err := os.Stat(path); err == nil && info.ModTime().After(newest) {
				newest = info.ModTime()
			}
		}
	}
	if newest.IsZero() {
		newest = time.Now()
	}
	text, err := yaml.Marshal(map[string]any{"type": "file", "name": "replay", "paths": slices.Clone(o.Files)})
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	node, err := component.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return sources.New(node, sources.Env{Log: o.Log, Clock: fixedClock(newest)})
}

func globbed(pattern string) []string {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	return paths
}

// fixedClock is a clock that stands still.
type fixedClock time.Time

// Now implements sources.Clock.
func (c fixedClock) Now() time.Time { return time.Time(c) }

// After implements sources.Clock.
func (c fixedClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
