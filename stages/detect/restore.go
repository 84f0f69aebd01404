package detect

import (
	"container/heap"
	"fmt"
	"slices"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// Owner returns the document and the key by which match.Matcher.Route says
// what shard a record of a bucket or blackhole belongs to. It is false for
// records of other kinds, and of scenarios that are not among the rules.
// bucketKey aliases key.
func (d *Detector) Owner(c *pipeline.KeptCoder, key []byte) (doc int32, bucketKey string, ok bool) {
	if len(key) == 0 {
		return 0, "", false
	}
	find := c.GroupMember
	switch state.Kind(key[0]) {
	case state.KindBucket:
	case state.KindBlackhole:
		find = c.Document
	default:
		return 0, "", false
	}
	number, own, ok := splitKey(key)
	if !ok {
		return 0, "", false
	}
	doc, ok = find(number)
	return doc, pipeline.Alias(own), ok
}

// Load takes one record back into a new shard: of a bucket or a blackhole
// whose Owner is routed to it, or of a clock, which every shard gets. It is
// not taken when its scenario is not among the rules any more, or is defined
// otherwise: the caller deletes it. After the last record comes Loaded.
func (s *Shard) Load(key, value []byte, sum state.Sum) (taken bool, err error) {
	if len(key) == 0 || s.saving == nil {
		return false, fmt.Errorf("loading a record of state into a shard without a coder, or one without a key: %w", pipeline.ErrCut)
	}
	switch kind := state.Kind(key[0]); kind {
	case state.KindBucket:
		taken, err = s.loadBucket(key, value, sum)
	case state.KindBlackhole:
		taken, err = s.loadHole(key, value, sum)
	case state.KindShardClock:
		taken, err = true, s.loadClock(key, value, sum)
	default:
		err = fmt.Errorf("a record of kind %s is not of a shard", kind)
	}
	if err != nil {
		return false, fmt.Errorf("loading the record %q of state: %w", key, err)
	}
	return taken, nil
}

func (s *Shard) loadBucket(key, value []byte, sum state.Sum) (bool, error) {
	c := s.saving.coder
	group, own, ok := splitKey(key)
	if !ok {
		return false, pipeline.ErrCut
	}
	var h bucketRecord
	r := pipeline.NewStoredReader(value)
	h.read(&r)
	if r.Err() != nil {
		return false, r.Err()
	}
	i, known := c.Document(h.definition)
	if !known || c.GroupNumber(i) != group || s.docs[i].broken {
		return false, nil
	}
	id := bucketKey{s.docs[i].group, string(own)}
	if s.index[id] != 0 {
		return false, fmt.Errorf("the bucket %q is there twice", own)
	}
	if s.cold != nil && s.cold.bytes > s.cold.limit && h.has&isTimed == 0 {
		return true, s.loadCold(id, i, &h, sum)
	}
	ref := s.slab.alloc()
	b := s.slab.at(ref)
	b.key, b.doc, b.group = id.key, i, id.group
	if err := s.readBucket(&r, &h, b); err != nil {
		s.slab.release(ref)
		return false, err
	}
	b.sum = sum
	s.index[id] = ref
	if s.cold != nil {
		s.weighWhole(b)
	}
	p := s.parts[b.part]
	switch doc := &s.docs[i]; {
	case doc.timed: // Loaded puts the heap in order
		p.timed.refs = append(p.timed.refs, ref)
		b.timer.place = int32(len(p.timed.refs))
	case s.opts.Free:
		p.wheel.link(&s.slab, ref, b.last.add(doc.life).sec)
	}
	return true, nil
}

// loadCold leaves a bucket in the store.
func (s *Shard) loadCold(id bucketKey, doc int32, h *bucketRecord, sum state.Sum) error {
	part, err := s.storedPart(h.part)
	if err != nil {
		return err
	}
	n := s.cold.add(coldBucket{key: id.key, sum: sum, death: h.last.add(s.docs[doc].life), doc: doc, part: part})
	s.index[id] = -ref(n)
	return nil
}

// readBucket fills a bucket whose document is set from its record.
func (s *Shard) readBucket(r *pipeline.StoredReader, h *bucketRecord, b *bucket) error {
	var err error
	if b.part, err = s.storedPart(h.part); err != nil {
		return err
	}
	if b.from, err = s.storedPlace(h.from); err != nil {
		return err
	}
	if b.to, err = s.storedPlace(h.to); err != nil {
		return err
	}
	b.count, b.first, b.last, b.limiter = h.count, h.first, h.last, h.limiter
	readQueue(r, s.saving.coder, h.has, b)
	if err := r.End(); err != nil {
		return err
	}
	doc := &s.docs[b.doc]
	if b.extra != nil && b.extra.held != nil && len(b.extra.held) != len(doc.bayes) ||
		doc.limited != (h.has&hasLimiter != 0) {
		return fmt.Errorf("the bucket is not one of %s: %w", doc.name, pipeline.ErrCut)
	}
	if over := len(b.queue) - doc.keep; over > 0 { // the engine's bound is lower now: the oldest leave
		b.queue = slices.Clone(b.queue[over:])
		if b.extra != nil && b.extra.scopes != nil {
			b.extra.scopes = slices.Clone(b.extra.scopes[over:])
		}
	}
	return nil
}

func (s *Shard) loadHole(key, value []byte, sum state.Sum) (bool, error) {
	definition, own, ok := splitKey(key)
	if !ok {
		return false, pipeline.ErrCut
	}
	h, err := readHole(value)
	if err != nil {
		return false, err
	}
	doc, known := s.saving.coder.Document(definition)
	if !known || s.docs[doc].broken {
		return false, nil
	}
	part, err := s.storedPart(h.part)
	if err != nil {
		return false, err
	}
	k := holeKey{doc, string(own)}
	if _, there := s.holes[k]; there {
		return false, fmt.Errorf("the blackhole %q is there twice", own)
	}
	s.holes[k] = hole{until: h.until, part: part, sum: sum}
	if s.opts.Free {
		s.parts[part].holes = append(s.parts[part].holes, holeEnd{h.until, k})
	}
	return true, nil
}

func (s *Shard) loadClock(key, value []byte, sum state.Sum) error {
	number, own, ok := splitKey(key)
	if !ok || len(own) > 0 {
		return pipeline.ErrCut
	}
	c, err := readClock(value)
	if err != nil {
		return err
	}
	n, err := s.storedPart(number)
	if err != nil {
		return err
	}
	p := s.parts[n]
	p.clock, p.started = c.clock, true
	if s.opts.Index == 0 {
		p.saved, p.sum = c, sum
	}
	return nil
}

// Loaded ends loading: it puts in order what Load only gathered.
func (s *Shard) Loaded() {
	for _, p := range s.parts {
		heap.Init(&p.timed)
		heap.Init(&p.holes)
	}
}

// storedPart returns the shard's number for a partition that the dictionary has a number for.
func (s *Shard) storedPart(number uint32) (int32, error) {
	v := s.saving
	if int(number) < len(v.parts) && v.parts[number] > 0 {
		return v.parts[number] - 1, nil
	}
	p, err := v.coder.PartitionOf(number)
	if err != nil {
		return 0, err
	}
	n := s.number(p)
	s.parts[n].number = number
	for int(number) >= len(v.parts) {
		v.parts = append(v.parts, 0)
	}
	v.parts[number] = n + 1
	return n, nil
}

func (s *Shard) storedPlace(p storedPlace) (place, error) {
	n, err := s.storedPart(p.part)
	return place{offset: p.offset, line: p.line, part: n}, err
}

// Forget drops the buckets that a partition fed last, the blackholes that its
// records armed, and its clock, since another process goes on with it. Their
// records are deleted. It looks at everything the shard holds.
func (s *Shard) Forget(partition pipeline.Partition) {
	n, known := s.partIndex[partition]
	if !known {
		return
	}
	for _, r := range s.index {
		switch {
		case r < 0:
			if c := coldRef(-r); s.cold.at(c).part == n {
				s.dropCold(c)
			}
		case s.slab.at(r).part == n:
			s.remove(r)
		}
	}
	for k, h := range s.holes {
		if h.part == n {
			s.disarm(k, h)
		}
	}
	p := s.parts[n]
	p.holes = nil
	p.clock, p.started = instant{}, false
	if s.saving != nil && p.sum != 0 {
		s.saving.key = s.appendClockKey(s.saving.key[:0], p)
		s.saving.now.Delete(s.saving.key, p.sum)
		p.sum = 0
	}
}
