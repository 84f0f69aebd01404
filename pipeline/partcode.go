package pipeline

import (
	"strconv"
	"strings"

	"sluice/pipeline/state"
)

// PartitionNumber returns a partition's number in a dictionary.
func PartitionNumber(d *state.Dictionary, p Partition) uint32 {
	return d.Number(state.NumberPartition, p.Source+"\x00"+p.Topic+"\x00"+strconv.Itoa(int(p.ID)))
}

// PartitionOf returns the partition that a number stands for.
func PartitionOf(d *state.Dictionary, n uint32) (p Partition, ok bool) {
	name, ok := d.Name(state.NumberPartition, n)
	if !ok {
		return p, false
	}
	source, rest, _ := strings.Cut(name, "\x00")
	cut := strings.LastIndexByte(rest, 0)
	id, err := strconv.Atoi(rest[max(cut, 0)+1:])
	if cut < 0 || err != nil {
		return p, false
	}
	return Partition{Source: source, Topic: rest[:cut], ID: int32(id)}, true
}
