package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline"
	"sluice/pipeline/decisions"
)

// errTorn says that a value is not what the store writes.
var errTorn = errors.New("a record is damaged, or of another version; restore the folder from a backup, or remove it to begin without decisions")

// A block holds decisions that were made together: a list of a million is some
// hundreds of values and not a million. What they share, the texts, is in it
// once, and numbers are differences to the decision before. Its key is the id
// that the first of them had.
//
//	version, count of texts, texts
//	each decision: id, alert, until (all as differences), form, UUID,
//	               origin, type, scope, scenario, value (numbers of texts, or an address)

const codeVersion = 2

// The forms of a value.
const (
	formText = iota
	formIPv4
	formIPv6
	formIPv4Range // the address, then the bits
	formIPv6Range
	formSimulated = 1 << 7 // besides
)

// blockWriter makes blocks. Its memory is used again.
type blockWriter struct {
	last       decisions.Decision // of which only the numbers count
	texts      map[string]uint64
	head, body []byte
}

// reset begins a block with the id in its key.
func (w *blockWriter) reset(first int64) {
	if w.texts == nil {
		w.texts = make(map[string]uint64)
	}
	clear(w.texts)
	w.head, w.body = w.head[:0], w.body[:0]
	w.last = decisions.Decision{ID: first, Until: time.Unix(0, 0)}
}

// Badger builds its tables in memory that grows by what one value takes: so a
// block is small, and has enough decisions for what they share to weigh little.
const perBlock, maxBlock = 500, 16 << 10

// portion makes blocks of the first of some decisions, as many as one write
// holds, and returns these decisions with their blocks.
func (w *blockWriter) portion(ds []decisions.Decision) (part []decisions.Decision, blocks []block) {
	n, size := 0, 0
	for n < len(ds) && n < perWrite && size < maxWrite {
		one := w.fill(ds[n:])
		blocks = append(blocks, block{one[0].ID, w.bytes()})
		n, size = n+len(one), size+w.size()
	}
	return ds[:n], blocks
}

// block is a block with its key; without a value it is to be deleted.
type block struct {
	first int64
	value []byte
}

// size is how long some blocks are.
func size(blocks []block) (n int) {
	for i := range blocks {
		n += len(blocks[i].value)
	}
	return n
}

// maxText is the longest text of a decision, in bytes: memory holds those of all that are in force.
const maxText = 4 << 10

// canonical returns a decision as it is kept.
func canonical(d *decisions.Decision) (decisions.Decision, error) {
	for _, text := range [...]string{d.Origin, d.Type, d.Scope, d.Value, d.Scenario} {
		if len(text) > maxText {
			return *d, fmt.Errorf("a decision on %q… has a text of %d bytes, of %d at most: %w", strings.ToValidUTF8(d.Value[:min(len(d.Value), 40)], ""), len(text), maxText, ErrTooLarge)
		}
	}
	return decisions.Canonical(*d)
}

func putBlocks(txn *badger.Txn, blocks []block) error {
	for _, b := range blocks {
		if err := b.put(txn); err != nil {
			return err
		}
	}
	return nil
}

func (b *block) put(txn *badger.Txn) error {
	if len(b.value) == 0 {
		return txn.Delete(key(keyDecision, b.first))
	}
	return txn.Set(key(keyDecision, b.first), b.value)
}

// fill makes a block of the first of some decisions, and returns these.
func (w *blockWriter) fill(ds []decisions.Decision) []decisions.Decision {
	n := 0
	for ; n < len(ds) && n < perBlock && (n == 0 || w.size() < maxBlock); n++ {
		if n == 0 {
			w.reset(ds[0].ID)
		}
		w.add(&ds[n])
	}
	return ds[:n]
}

// add adds a canonical decision, whose id is above those before it.
func (w *blockWriter) add(d *decisions.Decision) {
	b := binary.AppendUvarint(w.body, uint64(d.ID-w.last.ID))
	b = binary.AppendVarint(b, d.Alert-w.last.Alert)
	b = binary.AppendVarint(b, d.Until.Unix()-w.last.Until.Unix())
	w.last.ID, w.last.Alert, w.last.Until = d.ID, d.Alert, d.Until
	form := byte(formText)
	var prefix netip.Prefix
	if d.Scope == decisions.ScopeIP || d.Scope == decisions.ScopeRange {
		prefix, _ = decisions.ParsePrefix(d.Value) // it is canonical
		if form = formIPv6; prefix.Addr().Is4() {
			form = formIPv4
		}
		if d.Scope == decisions.ScopeRange {
			form += formIPv4Range - formIPv4
		}
	}
	if d.Simulated {
		form |= formSimulated
	}
	b = append(append(b, form), d.UUID[:]...)
	for _, s := range [...]string{d.Origin, d.Type, d.Scope, d.Scenario} {
		b = binary.AppendUvarint(b, w.text(s))
	}
	switch form &^ formSimulated {
	case formText:
		b = binary.AppendUvarint(b, w.text(d.Value))
	case formIPv4, formIPv6:
		b = append(b, prefix.Addr().AsSlice()...)
	default:
		b = append(append(b, prefix.Addr().AsSlice()...), byte(prefix.Bits()))
	}
	w.body = b
}

func (w *blockWriter) text(s string) uint64 {
	n, ok := w.texts[s]
	if !ok {
		n = uint64(len(w.texts))
		w.texts[s] = n
		w.head = append(binary.AppendUvarint(w.head, uint64(len(s))), s...)
	}
	return n
}

// size is about how long the block is by now.
func (w *blockWriter) size() int { return len(w.head) + len(w.body) + 16 }

// bytes returns the block, in memory of its own.
func (w *blockWriter) bytes() []byte {
	b := append(make([]byte, 0, w.size()), codeVersion)
	b = binary.AppendUvarint(b, uint64(len(w.texts)))
	return append(append(b, w.head...), w.body...)
}

// readBlock calls visit with the decisions of a block whose key has the given
// id; each is valid during its call.
func readBlock(first int64, b []byte, visit func(*decisions.Decision) error) error {
	r := pipeline.NewStoredReader(b)
	if r.Byte() != codeVersion {
		return errTorn
	}
	n := r.Uvarint()
	if n > uint64(r.Len()) {
		return errTorn
	}
	texts := make([]string, n)
	for i := range texts {
		texts[i] = r.Text()
	}
	text := func() string {
		n := r.Uvarint()
		if n >= uint64(len(texts)) {
			r.Fail(errTorn)
			return ""
		}
		return texts[n]
	}
	d, until := decisions.Decision{ID: first}, int64(0)
	for some := false; r.Len() > 0; some = true {
		step := r.Uvarint()
		if some && step == 0 || step > 1<<48 {
			return errTorn
		}
		d.ID += int64(step)
		d.Alert += r.Varint()
		until += r.Varint()
		form := r.Byte()
		d.Until, d.Simulated = time.Unix(until, 0).UTC(), form&formSimulated != 0
		copy(d.UUID[:], r.Take(16))
		d.Origin, d.Type, d.Scope, d.Scenario = text(), text(), text(), text()
		if form &^= formSimulated; form == formText {
			d.Value = text()
		} else {
			d.Value = readAddress(&r, form)
		}
		if r.Err() != nil {
			return errTorn
		}
		if err := visit(&d); err != nil {
			return err
		}
	}
	if r.Err() != nil {
		return errTorn
	}
	return nil
}

// readAddress reads an address or a range as the index has it.
func readAddress(r *pipeline.StoredReader, form byte) string {
	size := uint64(4)
	if form == formIPv6 || form == formIPv6Range {
		size = 16
	}
	a, ok := netip.AddrFromSlice(r.Take(size))
	switch {
	case !ok || form > formIPv6Range:
		r.Fail(errTorn)
		return ""
	case form == formIPv4 || form == formIPv6:
		return a.String()
	}
	p := netip.PrefixFrom(a, int(r.Byte()))
	if !p.IsValid() {
		r.Fail(errTorn)
		return ""
	}
	return p.String()
}

// appendRemovals writes removals with consecutive numbers; that of the first is the key.
// The decisions themselves stay in their blocks until they are forgotten.
func appendRemovals(b []byte, gone []decisions.Change) []byte {
	b = append(b, codeVersion)
	last := int64(0)
	for i := range gone {
		b = binary.AppendVarint(append(b, byte(gone[i].Why)), gone[i].ID-last)
		last = gone[i].ID
	}
	return b
}

// removal is one of a value that appendRemovals wrote.
type removal struct {
	id, seq int64
	why     decisions.Why
}

// readRemovals appends the removals of a value whose key has the given number.
func readRemovals(all []removal, first int64, b []byte) ([]removal, error) {
	r := pipeline.NewStoredReader(b)
	if r.Byte() != codeVersion {
		return all, errTorn
	}
	one := removal{seq: first}
	for r.Len() > 0 {
		one.why = decisions.Why(r.Byte())
		one.id += r.Varint()
		if r.Err() != nil || one.why == decisions.Added || one.why > decisions.Allowed {
			return all, errTorn
		}
		all = append(all, one)
		one.seq++
	}
	return all, nil
}
