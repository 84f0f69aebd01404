package app

import (
	"slices"
	"time"

	"sluice/pipeline/component"
)

// StateConfig says where state is kept across restarts, and how often it is written.
type StateConfig struct {
	// Dir is the folder of the state; without it state lives in memory only.
	Dir string `yaml:"dir"`
	// Interval is how often state is made durable, MinInterval how soon after
	// the last time an alert that waits may ask for it.
	Interval    time.Duration `yaml:"interval"`
	MinInterval time.Duration `yaml:"min_interval"`
	// MemoryLimit bounds the buckets in memory, in bytes: colder ones are read
	// back from Dir on demand. 0 is no bound.
	MemoryLimit component.Bytes `yaml:"memory_limit"`
	// Missing says what to do about a partition whose state is not here:
	// wait, fresh or rebuild.
	Missing string `yaml:"missing"`
	// RebuildLookback is how far back, in the broker's time, rebuild reads again.
	RebuildLookback time.Duration `yaml:"rebuild_lookback"`
	// Reserve is the space on Dir's file system, in bytes, below which
	// nothing more is read: the store needs it to put itself in order. 0 lets
	// the store compute it.
	Reserve component.Bytes `yaml:"reserve"`
}

// OutboxConfig bounds the alerts that wait for sinks beside the state.
type OutboxConfig struct {
	// Quota is how much may wait for one sink, in bytes; the sink's on_full
	// says what happens beyond it.
	Quota component.Bytes `yaml:"quota"`
	// BatchAlerts is how many alerts a sink is given at once, at most.
	BatchAlerts int `yaml:"batch_alerts"`
	// Drain is how long the end of a run waits for sinks to take what is left.
	Drain time.Duration `yaml:"drain"`
}

// The orders of pipeline.order.
const (
	OrderArrival = "arrival"
	OrderMerged  = "merged"
)

func defaultState() StateConfig {
	return StateConfig{
		Interval: time.Second, MinInterval: 100 * time.Millisecond,
		Missing: "wait", RebuildLookback: time.Hour,
	}
}

func defaultOutbox() OutboxConfig {
	return OutboxConfig{Quota: 1 << 30, BatchAlerts: 500, Drain: 10 * time.Second}
}

func (s *StateConfig) validate() error {
	switch {
	case s.Interval <= 0:
		return component.Invalid("state.interval", "it must be above 0, such as 1s")
	case s.MinInterval <= 0 || s.MinInterval > s.Interval:
		return component.Invalid("state.min_interval", "it is %v; it must be above 0 and at most state.interval (%v)", s.MinInterval, s.Interval)
	case !slices.Contains([]string{"wait", "fresh", "rebuild"}, s.Missing):
		return component.Invalid("state.missing", "it is %q; it can be wait, fresh or rebuild", s.Missing)
	case s.RebuildLookback <= 0:
		return component.Invalid("state.rebuild_lookback", "it must be above 0, such as 1h")
	}
	return nil
}

func (o *OutboxConfig) validate() error {
	switch {
	case o.Quota < 1:
		return component.Invalid("outbox.quota", "it must be above 0, such as 1GiB")
	case o.BatchAlerts < 1:
		return component.Invalid("outbox.batch_alerts", "it is %d; it must be at least 1", o.BatchAlerts)
	case o.Drain < 0:
		return component.Invalid("outbox.drain", "it must not be below 0")
	}
	return nil
}
