package pipeline

import "time"

// Pour is one event on its way into one bucket. Its strings and its event
// live in the batch's arena: a shard copies what it keeps.
type Pour struct {
	// Scenario is the index of the scenario document in load order.
	Scenario int32
	// Line is the index of the causing line in the batch, for the clock.
	Line int32
	// Route decides the shard; equal for all pours that may meet in one bucket.
	Route uint64
	// Key is the groupby value, "" without one.
	Key string
	// Distinct is the value of the scenario's distinct expression.
	Distinct string
	// Scope is the value of the scenario's scope expression.
	Scope string
	// AlertLane says that the scenario's filter can also take alerts that are
	// reprocessed: such pours go to the one goroutine that orders both.
	AlertLane bool
	// Cancel is the outcome of cancel_on.
	Cancel bool
	// Failed says that groupby, distinct or scope failed on the event: the pour is dropped and counted.
	Failed bool
	Event  *Kept
}

// ClockStep says that from a line of the batch on the partition's clock stands at Clock.
type ClockStep struct {
	Line     int32
	Position Position
	Clock    time.Time
}

// Batch is a RecordBatch on its way through the graph.
type Batch struct {
	// Seq is the batch's place in the order in which batches entered the graph.
	Seq     uint64
	Records *RecordBatch
	// Pours are in order of (line, scenario).
	Pours []Pour
	// Steps are the strict advances of the partition's clock, in order.
	Steps []ClockStep
	Arena KeptArena
	Stats BatchStats
	// Dead are the records and lines that came to nothing and are to be kept.
	Dead []DeadLetter
}

// BatchStats counts what happened to a batch's lines.
type BatchStats struct {
	Lines, Parsed, Unparsed, Whitelisted, Undecodable, Poured uint64
	// Errors counts lines that a parser aborted, by reason.
	Errors map[string]uint64
}

// CountError counts one line or record that could not be used, by reason.
func (s *BatchStats) CountError(reason string) {
	if s.Errors == nil {
		s.Errors = make(map[string]uint64)
	}
	s.Errors[reason]++
}

// Add adds another batch's counts.
func (s *BatchStats) Add(o *BatchStats) {
	s.Lines += o.Lines
	s.Parsed += o.Parsed
	s.Unparsed += o.Unparsed
	s.Whitelisted += o.Whitelisted
	s.Undecodable += o.Undecodable
	s.Poured += o.Poured
	for reason, n := range o.Errors {
		if s.Errors == nil {
			s.Errors = make(map[string]uint64)
		}
		s.Errors[reason] += n
	}
}

// Overflow is a bucket that overflowed, on its way to become an alert. It
// owns all it points to.
type Overflow struct {
	Scenario int32 // index of the document whose pour made or fired the overflow
	Key      string
	// Cause is the record that made the bucket overflow; for a timed
	// overflow, the one that moved the clock past the deadline.
	Cause Position
	// Line is the cause's line in its batch.
	Line int32
	// Ordinal counts the overflows of one scenario at one cause, from 0.
	Ordinal int32
	// Depth is how many reprocessed alerts stand before this one.
	Depth int32
	// First is the position of the bucket's first pour, Last of its last.
	First, Last Position
	// FirstTime and LastTime are the event times of the first and last pour.
	FirstTime, LastTime time.Time
	// Count is the number of pours since the bucket's birth.
	Count int32
	// Queue holds the events kept, oldest first.
	Queue []*Kept
	// Scopes holds, for each event of Queue, the value of the scope expression.
	Scopes []string
}
