package recordbatch

import (
	"encoding/binary"
	"slices"
)

// AbortedTransaction is one of a fetch's answer: all transactional batches of
// the producer from FirstOffset to its next abort marker are to be left out.
type AbortedTransaction struct {
	ProducerID, FirstOffset int64
}

// Aborted says which batches of one answer belong to transactions that were
// aborted. Batches are shown to it in their order.
type Aborted struct {
	pending []AbortedTransaction // by first offset
	active  []int64              // producers inside an aborted transaction: few
}

// Reset begins an answer. It keeps its memory and sorts the list in place.
func (a *Aborted) Reset(list []AbortedTransaction) {
	slices.SortFunc(list, func(x, y AbortedTransaction) int {
		switch {
		case x.FirstOffset < y.FirstOffset:
			return -1
		case x.FirstOffset > y.FirstOffset:
			return 1
		}
		return 0
	})
	a.pending, a.active = list, a.active[:0]
}

// Skips tells whether a batch holds nothing for a reader of committed
// records: it is a marker, or data of an aborted transaction. payload is the
// decompressed one of a control batch; others may give nil.
func (a *Aborted) Skips(b *Batch, payload []byte) bool {
	for len(a.pending) > 0 && a.pending[0].FirstOffset <= b.LastOffset {
		if id := a.pending[0].ProducerID; !slices.Contains(a.active, id) {
			a.active = append(a.active, id)
		}
		a.pending = a.pending[1:]
	}
	if b.Attributes.Control() {
		if b.abortMarker(payload) {
			a.active = slices.DeleteFunc(a.active, func(id int64) bool { return id == b.ProducerID })
		}
		return true
	}
	return b.Attributes.Transactional() && slices.Contains(a.active, b.ProducerID)
}

// abortMarker tells whether a control batch ends a transaction by an abort.
// Its record's key holds a version and a type, 0 for an abort and 1 for a commit.
func (b *Batch) abortMarker(payload []byte) bool {
	records := b.Records(payload)
	var r Record
	return records.Next(&r) && len(r.Key) >= 4 && binary.BigEndian.Uint16(r.Key[2:]) == 0
}
