package outbox

import (
	"log/slog"
	"time"

	"sluice/pipeline"
)

// The waits after failures: they double, and half of each is left to chance,
// so that many who lost one server do not return together.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 10 * time.Second
)

// retry is how a place is doing, as far as the log and the next attempt are
// concerned. It writes a line when that changes, not at every attempt.
type retry struct {
	name   string
	waits  string // what happens meanwhile, for the log
	log    *slog.Logger
	clock  Clock
	jitter func() float64

	wait time.Duration // before the next attempt; 0 while all is well
	over bool          // entries are being let go
}

// failed notes a failure.
func (r *retry) failed(why error) {
	if r.wait == 0 {
		r.wait = firstWait
		r.log.Warn("a sink does not take alerts; "+r.waits, "sink", r.name, "error", why)
		return
	}
	r.wait = min(2*r.wait, longestWait)
}

// progressed notes that a part of a batch was taken: the waits begin anew, and
// the log, which has heard of the trouble, hears no more of it.
func (r *retry) progressed() {
	if r.wait > 0 {
		r.wait = firstWait / 2 // failed, which follows, doubles it
	}
}

// after starts the wait for the next attempt.
func (r *retry) after() <-chan time.Time {
	half := max(r.wait, firstWait) / 2
	return r.clock.After(half + time.Duration(r.jitter()*float64(half)))
}

// succeeded notes that the place took a batch.
func (r *retry) succeeded() {
	if r.wait > 0 {
		r.wait = 0
		r.log.Info("the sink takes alerts again", "sink", r.name)
	}
}

// refused notes a batch's letters that the place will never take.
func (r *retry) refused(letters []pipeline.DeadLetter) {
	r.log.Error("a sink refused alerts for good", "sink", r.name, "alerts", len(letters), "error", letters[0].Reason)
}

// overQuota notes that entries were let go.
func (r *retry) overQuota(p Policy) {
	if r.over {
		return
	}
	r.over = true
	where := "dropped"
	if p == DeadLetter {
		where = "moved to the dead letters"
	}
	r.log.Error("too much waits for a sink; its oldest are "+where, "sink", r.name)
}

// withinQuota notes that nothing needs to be let go any more.
func (r *retry) withinQuota() {
	if r.over {
		r.over = false
		r.log.Info("what waits for the sink is within its quota again", "sink", r.name)
	}
}
