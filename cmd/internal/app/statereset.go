package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice/cmd/internal/control"
	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/detect"
	"sluice/stages/parse"
)

// ResetState removes a state.
func ResetState(dir string) error {
	if err := state.Reset(dir); err != nil {
		return explainState(dir, err)
	}
	return control.Remove(dir)
}

// ResetPartition removes what a state holds of one partition, named as
// source/topic/id: its position, clock and stashes, and the buckets and
// blackholes that it fed last. The alerts in the outbox stay.
func ResetPartition(dir, name string) (records int, err error) {
	view, err := viewState(dir) // it refuses a folder without a state, where Open would make one
	if err != nil {
		return 0, err
	}
	if err := view.Close(); err != nil {
		return 0, err
	}
	store, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var w state.Writer
	known := make(map[string]bool)
	d := detect.NewDescriber(store.Dictionary())
	err = store.Load(func(key, value []byte, sum state.Sum) error {
		p, has, err := partitionOf(store.Dictionary(), d, key, value)
		if err != nil || !has {
			return err
		}
		known[p.String()] = true
		if p.String() == name {
			w.Delete(key, sum)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if w.Len() == 0 {
		names := make([]string, 0, len(known))
		for n := range known {
			names = append(names, n)
		}
		slices.Sort(names)
		return 0, fmt.Errorf("the state in %q holds nothing of a partition %q; it holds %s", dir, name, cmp.Or(strings.Join(names, ", "), "none at all"))
	}
	if _, err := store.Commit(context.Background(), &state.Epoch{Parts: []*state.Writer{&w}}); err != nil {
		return 0, err
	}
	return w.Len(), nil
}

// partitionOf returns the partition that a record belongs to, for the kinds that belong to one.
func partitionOf(dict *state.Dictionary, d *detect.Describer, key, value []byte) (p pipeline.Partition, has bool, err error) {
	switch state.Kind(key[0]) {
	case state.KindBucket, state.KindBlackhole, state.KindShardClock:
		p, err = d.FedBy(key, value)
		return p, true, err
	case state.KindPosition, state.KindClock:
		p, _, _, err = pipeline.DecodePartition(dict, key, value)
		return p, true, err
	case state.KindStash:
		number, ok := parse.StashPartition(key)
		if !ok {
			return p, false, pipeline.ErrCut
		}
		p, has = pipeline.PartitionOf(dict, number)
		return p, has, nil
	case state.KindLine:
		p, err = pipeline.LinePartition(dict, key)
		return p, true, err
	}
	return p, false, nil
}
