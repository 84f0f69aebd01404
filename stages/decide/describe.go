package decide

import (
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// LedgerRecord describes a record of the ledger, for exports that two runs
// are compared by.
type LedgerRecord struct {
	Kind string `json:"kind"`
	// Clock is set on the record of the ledger's clock alone.
	Clock time.Time `json:"clock,omitzero"`
	// Value is what was decided about; Decisions are oldest first.
	Value     string            `json:"value,omitempty"`
	Decisions []DecisionsRecord `json:"decisions,omitempty"`
}

// DecisionsRecord is when a decision was made, and how long it holds.
type DecisionsRecord struct {
	Made  time.Time `json:"made"`
	Until time.Time `json:"until"`
}

// Describe says what a record of the ledger holds.
func Describe(key, value []byte) (*LedgerRecord, error) {
	if len(key) < 2 || state.Kind(key[0]) != state.KindDecisions || key[1] > recordValue {
		return nil, pipeline.ErrCut
	}
	out := &LedgerRecord{Kind: state.KindDecisions.String()}
	r := pipeline.NewStoredReader(value)
	if key[1] == recordClock {
		if r.Byte() != ledgerVersion {
			r.Fail(pipeline.ErrCut)
		}
		out.Clock = r.Time(0)
		return out, r.End()
	}
	v := readDecided(&r)
	out.Value = string(key[2:])
	for _, e := range v.entries {
		out.Decisions = append(out.Decisions, DecisionsRecord{e.made, e.until})
	}
	return out, r.End()
}
