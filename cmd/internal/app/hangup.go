package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sluice/cmd/internal/control"
	"sluice/sinks"
	"sluice/sinks/outbox"
)

// hangups follows SIGHUP from now on; done ends that. It comes before anything
// that takes long, since a signal that nobody follows ends the process.
func hangups() (signals <-chan os.Signal, done func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// followHangups opens the sinks' files again, after a log rotation renamed
// them, and reads the rules again, at each SIGHUP. What came of it is in the
// log, and in the state's folder for whoever sent the signal with sluice reload.
func (p *Pipeline) followHangups(ctx context.Context, signals <-chan os.Signal) {
	var running *control.Running
	if dir := p.config.StateDir(); dir != "" {
		var err error
		if running, err = control.Announce(dir); err != nil {
			p.log.Warn("sluice reload will not find this process; send it SIGHUP instead", "error", err)
		}
	}
	for {
		select {
		case <-signals:
			p.reopen()
			failure := p.Reload(ctx)
			if failure != nil {
				p.log.Error("the rules were not reloaded", "error", failure)
			}
			if running == nil {
				continue
			}
			if err := running.Answer(time.Now(), p.ruleCounts(), failure); err != nil {
				p.log.Warn("sluice reload gets no answer", "error", err)
			}
		case <-ctx.Done():
			if running != nil {
				if err := running.Close(); err != nil {
					p.log.Warn("the state's folder still names this process", "error", err)
				}
			}
			return
		}
	}
}

// ruleCounts says how many rules run.
func (p *Pipeline) ruleCounts() string {
	set := p.engine.Set
	return fmt.Sprintf("%d parsers, %d postoverflows, %d scenarios, %d contexts",
		len(set.Parsers), len(set.Postoverflows), len(set.Scenarios), len(set.Contexts))
}

func (p *Pipeline) reopen() {
	for _, s := range p.sinks {
		p.reopenOne(s.Name(), s)
	}
	p.reopenOne(outbox.DeadLettersName, p.dead)
}

// reopenOne opens a sink's file again, if it has one.
func (p *Pipeline) reopenOne(name string, sink any) {
	r, ok := sink.(sinks.Reopener)
	if !ok {
		return
	}
	if err := r.Reopen(); err != nil {
		p.log.Error("a sink's file could not be opened again", "sink", name, "error", err)
	} else {
		p.log.Info("opened the sink's file again", "sink", name)
	}
}

// ReloadRunning tells the pipeline that keeps its state in a folder to read
// its rules again, and returns what runs then. An error is its reason to go on
// with the old ones, or says that there is no such pipeline.
func ReloadRunning(ctx context.Context, dir string, wait time.Duration) (summary string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	a, err := control.Reload(ctx, dir)
	if err != nil {
		return "", err
	}
	if a.Error != "" {
		return "", errors.New(a.Error)
	}
	return a.Summary, nil
}
