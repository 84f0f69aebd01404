package outbox

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"sluice/pipeline"
)

// pace is how a place is doing, as far as the log and the time of the next
// attempt are concerned: backoff, budget and breaker. It writes a line when
// that changes, not at every attempt.
type pace struct {
	name   string
	waits  string // what happens meanwhile, for the log
	log    *slog.Logger
	clock  Clock
	jitter func() float64
	retry  Retry

	backoff time.Duration // before the next attempt, at most; 0 while all is well
	over    bool          // entries are being let go
	budget  budget
	breaker breaker
	retries uint64 // attempts after a failure
}

func newPace(name, waits string, retry Retry, o *Options) pace {
	return pace{
		name: name, waits: waits, log: o.Logger, clock: o.Clock, jitter: o.Jitter, retry: retry,
		budget: budget{Budget: retry.Budget}, breaker: breaker{Breaker: retry.Breaker, state: BreakerClosed},
	}
}

// begin is called before an attempt; probe says that it may hold one alert only.
func (p *pace) begin() (probe bool) {
	if p.backoff > 0 {
		p.retries++
	}
	return p.breaker.begin()
}

// failed notes an attempt that the place failed.
func (p *pace) failed(why error) {
	p.stalled(why)
	if p.breaker.failure() {
		p.log.Warn("a sink failed too often in a row; it is left alone, and probed with one alert now and then",
			"sink", p.name, "failures", p.breaker.failed, "cool_down", p.retry.Breaker.CoolDown.String(), "error", why)
	}
}

// stalled notes that it does not go on, for whatever reason.
func (p *pace) stalled(why error) {
	if p.backoff == 0 {
		p.backoff = p.retry.InitialBackoff
		p.log.Warn("a sink does not take alerts; "+p.waits, "sink", p.name, "error", why)
		return
	}
	p.backoff = min(2*p.backoff, p.retry.MaxBackoff)
}

// progressed notes that a part of a batch was taken: the waits begin anew, and
// the log, which has heard of the trouble, hears no more of it.
func (p *pace) progressed() {
	if p.backoff > 0 {
		p.backoff = p.retry.InitialBackoff / 2 // failed, which follows, doubles it
	}
	p.breaker.success()
	p.budget.delivered()
}

// after starts the wait for the next attempt. Half of a backoff is left to
// chance, so that many who lost one server do not return together.
func (p *pace) after() <-chan time.Time {
	if p.breaker.state == BreakerOpen {
		return p.clock.After(p.retry.Breaker.CoolDown)
	}
	half := max(p.backoff, p.retry.InitialBackoff) / 2
	wait := half + time.Duration(p.jitter()*float64(half))
	return p.clock.After(max(wait, p.budget.take(p.clock.Now())))
}

// succeeded notes that the place took a batch.
func (p *pace) succeeded() {
	p.breaker.success()
	p.budget.delivered()
	if p.backoff > 0 {
		p.backoff = 0
		p.log.Info("the sink takes alerts again", "sink", p.name)
	}
}

// refused notes a batch's letters that the place will never take.
func (p *pace) refused(letters []pipeline.DeadLetter) {
	p.log.Error("a sink refused alerts for good", "sink", p.name, "alerts", len(letters), "ids", named(letters), "error", letters[0].Reason)
}

// named returns the ids of the first alerts among letters: where there is no place for them, all that is left.
func named(letters []pipeline.DeadLetter) string {
	const most = 20
	var out []string
	for i := range letters[:min(len(letters), most)] {
		out = append(out, string(letters[i].Key))
	}
	if more := len(letters) - most; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, " ")
}

// gaveUp notes alerts that were tried often or long enough.
func (p *pace) gaveUp(letters []pipeline.DeadLetter) {
	p.log.Error("alerts are given up: their sink does not take them", "sink", p.name, "alerts", len(letters),
		"first", string(letters[0].Key), "error", letters[0].Reason)
}

// overQuota notes that entries were let go.
func (p *pace) overQuota(policy Policy) {
	if p.over {
		return
	}
	p.over = true
	where := "dropped"
	if policy == DeadLetter {
		where = "moved to the dead letters"
	}
	p.log.Error("too much waits for a sink; its oldest are "+where, "sink", p.name)
}

// withinQuota notes that nothing needs to be let go any more.
func (p *pace) withinQuota() {
	if p.over {
		p.over = false
		p.log.Info("what waits for the sink is within its quota again", "sink", p.name)
	}
}
