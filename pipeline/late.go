package pipeline

import (
	"context"
	"encoding/binary"

	"sluice/pipeline/state"
)

// lateAlerts are the alerts that still waited for a look-up when their batch
// had passed (Options.LateAlerts). They are state: a checkpoint writes their
// overflows down, and a graph that resumes makes their alerts again. The tail's goroutine owns
// everything but done.
type lateAlerts struct {
	waiting map[*pendingAlert]struct{}
	// gone are those that have come out since they were written down.
	gone []*pendingAlert
	// last is the highest number given to one that was written down.
	last uint64
	done chan *pendingAlert
}

func (l *lateAlerts) init() {
	l.waiting = make(map[*pendingAlert]struct{})
	l.done = make(chan *pendingAlert)
}

// wait takes an alert that is not ready.
func (l *lateAlerts) wait(ctx context.Context, g *Graph, p *pendingAlert) {
	l.waiting[p] = struct{}{}
	g.lookUps.Go(func() {
		select {
		case <-p.ready:
		case <-ctx.Done():
			return
		}
		select {
		case l.done <- p:
		case <-ctx.Done():
		}
	})
}

// came forgets an alert that is ready.
func (l *lateAlerts) came(p *pendingAlert) {
	delete(l.waiting, p)
	if p.sum != 0 {
		l.gone = append(l.gone, p)
	}
}

// save writes down what changed since the last save.
func (l *lateAlerts) save(w *state.Writer, c Coder) {
	for _, p := range l.gone {
		w.Delete(pendingKey(p.number), p.sum)
	}
	clear(l.gone)
	l.gone = l.gone[:0]
	for p := range l.waiting {
		if p.sum == 0 {
			l.last++
			p.number = l.last
			p.sum = w.Put(pendingKey(p.number), c.AppendOverflow(nil, p.overflow), 0)
		}
	}
}

func pendingKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(state.KindPending)}, number)
}

// PendingAlert is an overflow, out of a checkpoint, whose alert had waited for a look-up.
type PendingAlert struct {
	Key      []byte // of its record
	Sum      state.Sum
	Overflow *Overflow
}

// ResumeAlerts makes the alerts that waited at the checkpoint. Call it before Run.
func (g *Graph) ResumeAlerts(pending []PendingAlert) {
	for _, r := range pending {
		p := newPendingAlert(r.Overflow)
		if len(r.Key) == 9 {
			p.number = binary.BigEndian.Uint64(r.Key[1:])
		}
		p.sum = r.Sum
		g.late.last = max(g.late.last, p.number)
		g.late.waiting[p] = struct{}{}
	}
}

// startResumed starts the look-ups of the alerts that a checkpoint had kept.
func (g *Graph) startResumed(ctx context.Context) {
	for p := range g.late.waiting {
		if g.start(ctx, p) != nil {
			return // the graph stops
		}
		g.late.wait(ctx, g, p)
	}
}
