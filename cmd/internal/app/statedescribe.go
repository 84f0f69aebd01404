package app

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/decide"
	"sluice/stages/detect"
	"sluice/stages/parse"
)

// partitionRecord describes a position or a clock.
type partitionRecord struct {
	Kind      string    `json:"kind"`
	Partition string    `json:"partition"`
	Next      int64     `json:"next,omitempty"`
	Clock     time.Time `json:"clock,omitzero"`
}

// lineRecord describes a line that waits for other partitions.
type lineRecord struct {
	Kind     string    `json:"kind"`
	Position string    `json:"position"`
	Clock    time.Time `json:"clock"`
	Step     bool      `json:"step"`
}

// pendingRecord describes an overflow whose alert waits for a look-up.
type pendingRecord struct {
	Kind     string    `json:"kind"`
	Scenario string    `json:"scenario"`
	Filter   string    `json:"filter"`
	Key      string    `json:"key"`
	Cause    string    `json:"cause"`
	First    string    `json:"first"`
	Ordinal  int32     `json:"ordinal"`
	Depth    int32     `json:"depth,omitempty"`
	Count    int32     `json:"count"`
	Last     time.Time `json:"last"`
}

// rawRecord is a record that is not taken apart.
type rawRecord struct {
	Kind  string `json:"kind"`
	Key   string `json:"key"` // in hexadecimal digits
	Value string `json:"value"`
}

// describeState returns a line of JSON for each of a store's records. With an
// error they are those that could be read.
func describeState(store *state.Store) (lines [][]byte, err error) {
	return DescribeRecords(store.Dictionary(), store.Load)
}

// DescribeRecords returns a line of JSON for each record that load gives, in
// no order. load is called twice and gives the same records both times. With an error
// the lines are those of the records that could be read.
func DescribeRecords(dict *state.Dictionary, load func(f func(key, value []byte, sum state.Sum) error) error) (lines [][]byte, err error) {
	d := describer{dict: dict, detect: detect.NewDescriber(dict)}
	d.coder = pipeline.NewKeptCoder(pipeline.NewSchema(), d.dict, nil)
	// Whether a bucket is dead is known once all clocks are.
	err = load(func(key, value []byte, _ state.Sum) error {
		if state.Kind(key[0]) == state.KindShardClock {
			c, err := d.detect.Clock(key, value)
			d.skip(key, d.add(c, err))
		}
		return nil
	})
	again := load(func(key, value []byte, _ state.Sum) error {
		d.skip(key, d.record(key, value))
		return nil
	})
	if err == nil { // the same damage is met twice
		err = again
	}
	if d.unread > 0 {
		err = errors.Join(err, fmt.Errorf("%d records cannot be read, such as %w", d.unread, d.example))
	}
	return d.lines, err
}

type describer struct {
	dict   *state.Dictionary
	detect *detect.Describer
	coder  *pipeline.KeptCoder
	lines  [][]byte

	unread  int
	example error // the first record that cannot be read
}

// skip leaves a record out that cannot be read.
func (d *describer) skip(key []byte, err error) {
	if err == nil {
		return
	}
	if d.unread++; d.unread == 1 {
		d.example = fmt.Errorf("%q of kind %s: %w", key, state.Kind(key[0]), err)
	}
}

func (d *describer) record(key, value []byte) error {
	switch kind := state.Kind(key[0]); kind {
	case state.KindShardClock, state.KindNumber:
		return nil
	case state.KindBucket:
		b, err := d.detect.Bucket(key, value)
		if b == nil {
			return err
		}
		return d.add(b, err)
	case state.KindBlackhole:
		h, err := d.detect.Blackhole(key, value)
		if h == nil {
			return err
		}
		return d.add(h, err)
	case state.KindPosition, state.KindClock:
		p, next, clock, err := pipeline.DecodePartition(d.dict, key, value)
		return d.add(partitionRecord{kind.String(), p.String(), next, clock}, err)
	case state.KindLine:
		return d.line(key, value)
	case state.KindPending:
		return d.pending(value)
	case state.KindStash:
		s, err := parse.DescribeStash(d.dict, key, value)
		return d.add(s, err)
	case state.KindDecisions:
		l, err := decide.Describe(key, value)
		return d.add(l, err)
	default:
		return d.add(rawRecord{kind.String(), hex.EncodeToString(key[1:]), hex.EncodeToString(value)}, nil)
	}
}

func (d *describer) line(key, value []byte) error {
	l, err := pipeline.DecodeLine(key, value, 0, d.dict, d.coder.DecodePour)
	if err != nil {
		return err
	}
	return d.add(lineRecord{state.KindLine.String(), l.Position.String(), l.Clock, l.Step}, nil)
}

func (d *describer) pending(value []byte) error {
	o, _, err := d.coder.DecodeOverflow(value)
	if err != nil && !errors.Is(err, pipeline.ErrUnknownScenario) { // the coder knows no rules
		return err
	}
	r := pipeline.NewStoredReader(value)
	r.Byte() // the version, which was looked at
	scenario, filter, ok := pipeline.GroupOf(d.dict, r.Number())
	if !ok {
		return pipeline.ErrCut
	}
	return d.add(pendingRecord{
		Kind: state.KindPending.String(), Scenario: scenario, Filter: filter, Key: o.Key, Cause: o.Cause.String(), First: o.First.String(),
		Ordinal: o.Ordinal, Depth: o.Depth, Count: o.Count, Last: o.LastTime,
	}, nil)
}

func (d *describer) add(record any, err error) error {
	if err != nil {
		return err
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(record); err != nil {
		return err
	}
	d.lines = append(d.lines, bytes.TrimSuffix(line.Bytes(), []byte("\n")))
	return nil
}
