package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// NewLog returns the logger of a command: text on w.
func NewLog(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// RunFile runs the pipeline of a configuration file until its sources end or
// ctx is done, with a live status line where stderr is a terminal, and a line
// in the log every ten seconds where it is not.
func RunFile(ctx context.Context, path string, verbose bool, stdout, stderr io.Writer) (err error) {
	signals, done := hangups()
	defer done()
	c, err := Load(path)
	if err != nil {
		return err
	}
	var line *StatusLine
	interval := 10 * time.Second
	if isTerminal(stderr) {
		line, interval = NewStatusLine(stderr), time.Second
		if isTerminal(stdout) {
			stdout = line
		}
		stderr = line
	}
	log := NewLog(stderr, verbose)
	p, err := New(c, Env{Log: log, Stdout: stdout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if p.Skipped > 0 {
		log.Warn("some rules are broken and were left out; sluice check shows them", "rules", p.Skipped)
	}
	reporting, stop := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { p.Report(reporting, line, interval) })
	reporter.Go(func() { p.followHangups(reporting, signals) })
	err = p.Run(ctx)
	stop()
	reporter.Wait()
	p.logLosses()
	s := p.Status()
	fmt.Fprintf(stderr, "%d lines, %d parsed, %d alerts, %d decisions\n", s.Lines, s.Parsed, s.Alerts, s.Decisions)
	return err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
