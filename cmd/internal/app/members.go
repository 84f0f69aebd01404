package app

import (
	"context"
	"maps"

	"sluice/pipeline"
)

// members are the sources whose partitions come and go.
type members struct {
	d *durable
}

func newMembers(d *durable) *members { return &members{d: d} }

// split tells the positions of static sources from those of members.
func (m *members) split(all map[pipeline.Partition]int64) (static, grouped map[pipeline.Partition]int64) {
	return maps.Clone(all), nil
}

// durable releases an epoch's alerts.
func (m *members) durable(_ context.Context, e *pipeline.DurableEpoch, _ map[pipeline.Partition]int64) error {
	m.d.deliverer.Release(e.NextSeq)
	return nil
}
