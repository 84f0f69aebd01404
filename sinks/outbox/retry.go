package outbox

import (
	"time"

	"sluice/pipeline/component"
)

// Retry says how a place that does not take alerts is asked again: the key
// retry of every sink. The zero value stands for DefaultRetry.
type Retry struct {
	// InitialBackoff is how long the first wait after a failure is, at most. Waits double from there, and half of each is left to chance.
	InitialBackoff time.Duration `yaml:"initial_backoff"`
	// MaxBackoff is how long a wait becomes, at most.
	MaxBackoff time.Duration `yaml:"max_backoff"`
	// MaxAttempts is how often an alert is tried before it goes to the dead letters as `undelivered`. An alert that failed so often
	// together with others is tried in smaller batches first, until it has failed alone, so that only what the sink
	// cannot take is given up. It is counted anew after a restart. 0 never gives up.
	MaxAttempts int `yaml:"max_attempts"`
	// MaxAge is how long an alert may wait for a sink that fails before it goes to the dead letters as `undelivered`, counted to
	// the second from when it was stored, also while Sluice is not running. It is tried alone first, as with MaxAttempts; once several in a row have
	// failed alone, all that are as old go. 0 never gives up.
	MaxAge time.Duration `yaml:"max_age"`
	// Budget bounds how many attempts may be retries.
	Budget Budget `yaml:"budget"`
	// Breaker leaves a sink alone that fails again and again.
	Breaker Breaker `yaml:"breaker"`
}

// Budget bounds retries: a token bucket that deliveries and time fill.
type Budget struct {
	// Ratio is how many retries each delivered batch allows, such as 0.2 for one in five. What is allowed and not used is kept for a second's worth of retries.
	Ratio float64 `yaml:"ratio"`
	// MinPerSecond is how many retries a second there may be beside. A retry beyond both waits; nothing is given up for it.
	MinPerSecond float64 `yaml:"min_per_second"`
}

// Breaker is a circuit breaker.
type Breaker struct {
	// Failures is how many attempts in a row must fail for the breaker to open: then the sink is left alone for CoolDown. 0 never opens it.
	Failures int `yaml:"failures"`
	// CoolDown is how long an open breaker leaves the sink alone. Then it is half-open: one alert probes the sink, and closes the breaker or opens it again.
	CoolDown time.Duration `yaml:"cool_down"`
}

// DefaultRetry returns what holds where a sink's configuration says nothing:
// it never gives up. The budget's figures are those of Finagle and Linkerd.
func DefaultRetry() Retry {
	return Retry{
		InitialBackoff: 100 * time.Millisecond, MaxBackoff: 10 * time.Second,
		Budget:  Budget{Ratio: 0.2, MinPerSecond: 10},
		Breaker: Breaker{Failures: 10, CoolDown: 30 * time.Second},
	}
}

// Validate checks the values; component.Decode places its errors.
func (r *Retry) Validate() error {
	switch {
	case r.InitialBackoff <= 0:
		return component.Invalid("initial_backoff", "it is %v; it must be above 0, such as 100ms", r.InitialBackoff)
	case r.MaxBackoff < r.InitialBackoff:
		return component.Invalid("max_backoff", "it is %v; it must be at least initial_backoff (%v)", r.MaxBackoff, r.InitialBackoff)
	case r.MaxAttempts < 0:
		return component.Invalid("max_attempts", "it is %d; it must be at least 1, or 0 to try for ever", r.MaxAttempts)
	case r.MaxAge < 0:
		return component.Invalid("max_age", "it is %v; it must be above 0, such as 24h, or 0 to try for ever", r.MaxAge)
	case r.Budget.Ratio < 0 || r.Budget.Ratio > 100:
		return component.Invalid("budget.ratio", "it is %v; it must be between 0 and 100, such as 0.2", r.Budget.Ratio)
	case r.Budget.MinPerSecond <= 0:
		return component.Invalid("budget.min_per_second", "it is %v; it must be above 0, such as 10: with none a sink that was down would stay so", r.Budget.MinPerSecond)
	case r.Breaker.Failures < 0:
		return component.Invalid("breaker.failures", "it is %d; it must be at least 1, or 0 for no breaker", r.Breaker.Failures)
	case r.Breaker.CoolDown <= 0:
		return component.Invalid("breaker.cool_down", "it is %v; it must be above 0, such as 30s; set breaker.failures to 0 for no breaker", r.Breaker.CoolDown)
	}
	return nil
}

// Bounded tells whether an alert may be given up: then there must be dead letters.
func (r *Retry) Bounded() bool { return r.MaxAttempts > 0 || r.MaxAge > 0 }
