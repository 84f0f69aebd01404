package pipeline

import (
	"cmp"
	"fmt"
)

// Partition names an ordered log: one partition of a topic, one file, one stream.
type Partition struct {
	Source string `json:"source"` // the source's name in the configuration
	Topic  string `json:"topic"`  // topic, path or stream
	ID     int32  `json:"partition"`
}

// String returns source/topic/id.
func (p Partition) String() string { return fmt.Sprintf("%s/%s/%d", p.Source, p.Topic, p.ID) }

// Compare orders partitions by source, topic and number.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(cmp.Compare(p.Source, q.Source), cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.ID, q.ID))
}

// Position says where a line came from: a record of a partition, and the line within it.
type Position struct {
	Partition
	Offset int64 `json:"offset"` // of the record
	Line   int32 `json:"line"`   // within the record, from 0
}

// String returns source/topic/id@offset.line.
func (p Position) String() string { return fmt.Sprintf("%s@%d.%d", p.Partition, p.Offset, p.Line) }

// Compare orders positions by partition, then by place in it.
func (p Position) Compare(q Position) int {
	return cmp.Or(
		p.Partition.Compare(q.Partition),
		cmp.Compare(p.Offset, q.Offset),
		cmp.Compare(p.Line, q.Line),
	)
}
