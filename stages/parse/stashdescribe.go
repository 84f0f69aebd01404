package parse

import (
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// StashRecord describes a record of a partition's stashes, for exports that
// two runs are compared by.
type StashRecord struct {
	Kind      string `json:"kind"`
	Partition string `json:"partition"`
	// Stash is empty for the partition's clock.
	Stash string    `json:"stash,omitempty"`
	Clock time.Time `json:"clock,omitzero"`
	// Target is an ARC's.
	Target int `json:"target,omitempty"`
	// Key and what follows are an entry's. LastUse counts the uses of the stash.
	Key      string    `json:"key,omitempty"`
	Value    string    `json:"value,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
	List     uint8     `json:"list,omitempty"`
	LastUse  uint64    `json:"last_use,omitempty"`
	Uses     uint64    `json:"uses,omitempty"`
}

// DescribeStash says what a record holds, by names instead of the
// dictionary's numbers and without the rules.
func DescribeStash(dict *state.Dictionary, key, value []byte) (*StashRecord, error) {
	k, err := splitStashKey(key)
	if err != nil {
		return nil, err
	}
	p, known := pipeline.PartitionOf(dict, k.partition)
	out := &StashRecord{Kind: state.KindStash.String(), Partition: p.String()}
	if k.stash != clockStash && known {
		out.Stash, known = dict.Name(state.NumberStash, k.stash)
	}
	if !known {
		return nil, errStashKey
	}
	r := pipeline.NewStoredReader(value)
	if k.stash != clockStash && k.part == partEntry {
		e, err := readEntry(k.own, &r)
		if err != nil {
			return nil, err
		}
		out.Key, out.Value, out.Deadline = e.key, e.value, e.deadline
		out.List, out.LastUse, out.Uses = uint8(e.list), e.last, e.uses
		return out, nil
	}
	if r.Byte() != stashVersion {
		r.Fail(pipeline.ErrCut)
	}
	if k.stash == clockStash {
		out.Clock = r.Time(0)
	} else {
		out.Target = int(r.Int32())
	}
	return out, r.End()
}
