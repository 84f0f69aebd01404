package spread

import (
	"sluice/pipeline"
	"sluice/sinks"
)

// Memory is of alerts behind one that failed which are settled nonetheless:
// a sink is given all of them again, and is not to send those. The zero value
// remembers nothing. One goroutine uses it, as a sink's Alerts is.
type Memory struct {
	// settled are those alerts, by id. The value is why one was refused, or nil.
	// They are among the next ahead alerts, even if those come in smaller batches.
	settled map[string]error
	ahead   int
}

// Result is what became of an alert.
type Result struct {
	Done   bool
	Reason error // of a refusal
}

// Recall begins the results of a batch: what is known to be settled is done.
func (m *Memory) Recall(alerts []pipeline.Alert) []Result {
	results := make([]Result, len(alerts))
	for i := range alerts {
		if reason, ok := m.settled[alerts[i].UUID]; ok {
			results[i] = Result{true, reason}
		}
	}
	return results
}

// Outcome returns what a sink's Alerts is to return, and remembers what was
// settled behind the first alert that was not. err is why that one failed;
// together returns up to which alert others failed with it.
func (m *Memory) Outcome(alerts []pipeline.Alert, results []Result, together func(first int) (last int), err error) error {
	prefix := len(results)
	for i := range results {
		if !results[i].Done {
			prefix = i
			break
		}
	}
	var rejected *sinks.RejectedError
	for i, r := range results[:prefix] {
		if r.Reason != nil {
			rejected = rejected.With(i, r.Reason)
		}
	}
	m.remember(alerts, results, prefix)
	if prefix == len(results) {
		if rejected != nil {
			return rejected
		}
		return nil
	}
	return &sinks.PartialError{Settled: prefix, Rejected: rejected, Failed: together(prefix) - prefix + 1, Err: err}
}

// remember forgets the alerts that the caller knows to be settled, and notes
// which are among those that come again.
func (m *Memory) remember(alerts []pipeline.Alert, results []Result, prefix int) {
	if m.ahead = max(m.ahead, len(alerts)) - prefix; m.ahead <= 0 {
		m.settled = nil
		return
	}
	if m.settled == nil {
		m.settled = make(map[string]error)
	}
	for i, r := range results {
		switch {
		case i < prefix:
			delete(m.settled, alerts[i].UUID)
		case r.Done:
			m.settled[alerts[i].UUID] = r.Reason
		}
	}
}
