package detect

// Stats is what a shard holds and did since it was made. The counters of
// what came to nothing say why.
type Stats struct {
	// Live is how many buckets are in memory, dead ones included that
	// nothing has looked at; Blackholes likewise.
	Live, Blackholes int
	// Cold is how many buckets are in the store alone, Bytes about what all
	// buckets take in memory: with a memory limit only.
	Cold  int
	Bytes int64
	// Evictions counts buckets that left memory for the store, ColdReads
	// those that came back.
	Evictions, ColdReads uint64

	// Poured counts the events that entered a bucket or a trigger.
	Poured uint64
	// Overflows counts those handed on.
	Overflows uint64
	// Expired counts buckets that a later event of their own found dead,
	// Freed those that the clock removed before.
	Expired, Freed uint64

	// Failed pours had a groupby, distinct or scope that failed.
	Failed uint64
	// Broken pours belong to a document that did not compile.
	Broken uint64
	// Undated pours had an event without a date: ShardOptions.DatedOnly.
	Undated uint64
	// Duplicates were dropped by distinct.
	Duplicates uint64
	// Canceled counts pours that killed their bucket by cancel_on.
	Canceled uint64
	// Muted overflows fell into a blackhole, Filtered were dropped by overflow_filter.
	Muted, Filtered uint64
	// ConditionErrors and FilterErrors count expressions that failed to run:
	// a condition counts as false, an overflow_filter lets the overflow pass.
	ConditionErrors, FilterErrors uint64
	// DistinctFull counts values that were not remembered, QueueFull events
	// that were pushed out, because a bucket reached Options' bounds.
	DistinctFull, QueueFull uint64
}

// Stats returns the counters. Only the shard's goroutine may call it.
func (s *Shard) Stats() Stats {
	st := s.stats
	st.Live, st.Blackholes = len(s.index), len(s.holes)
	if s.cold != nil {
		st.Live, st.Cold, st.Bytes = len(s.index)-s.cold.count, s.cold.count, s.cold.bytes
	}
	return st
}

// Dropped lists the pours and overflows that came to nothing, by reason, for
// metrics. It leaves out what is zero.
func (st *Stats) Dropped() map[string]uint64 {
	out := make(map[string]uint64)
	for reason, n := range map[string]uint64{
		"expression_failed": st.Failed,
		"broken_scenario":   st.Broken,
		"no_date":           st.Undated,
		"duplicate":         st.Duplicates,
		"canceled":          st.Canceled,
		"blackhole":         st.Muted,
		"overflow_filter":   st.Filtered,
	} {
		if n > 0 {
			out[reason] = n
		}
	}
	return out
}

// Add adds another shard's counters.
func (st *Stats) Add(o Stats) {
	st.Live += o.Live
	st.Blackholes += o.Blackholes
	st.Cold += o.Cold
	st.Bytes += o.Bytes
	st.Evictions += o.Evictions
	st.ColdReads += o.ColdReads
	st.Poured += o.Poured
	st.Overflows += o.Overflows
	st.Expired += o.Expired
	st.Freed += o.Freed
	st.Failed += o.Failed
	st.Broken += o.Broken
	st.Undated += o.Undated
	st.Duplicates += o.Duplicates
	st.Canceled += o.Canceled
	st.Muted += o.Muted
	st.Filtered += o.Filtered
	st.ConditionErrors += o.ConditionErrors
	st.FilterErrors += o.FilterErrors
	st.DistinctFull += o.DistinctFull
	st.QueueFull += o.QueueFull
}
