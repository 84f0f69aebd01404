package kafka

import (
	"context"
	"fmt"
	"hash/maphash"

	"sluice/pipeline/decisions"
)

// fold is what records of the topic come to: the newest of each key.
type fold struct {
	seed       maphash.Seed
	id         string // ours
	partitions []int
	keys       map[string]standingKey

	whole     bool                // it is of all that the topic holds
	top       signature           // the greatest of all records
	topAt     recordAt            // where a record of it is
	others    int                 // records that are not ours
	misplaced map[string]recordAt // by partition and key, of records that belong elsewhere
}

// recordAt is a record's place.
type recordAt struct {
	partition int
	next      int64 // the offset behind it; 0 is no record
}

func (a recordAt) String() string {
	return fmt.Sprintf("offset %d of partition %d", a.next-1, a.partition)
}

// standingKey is the newest record of a key. There may be a million of them.
type standingKey struct {
	digest  uint64 // 0 of a tombstone, 1 of what no sluice wrote
	scope   int32  // length of the key's scope
	foreign bool   // it is not ours
	seen    bool   // it was compared
}

func (p *publisher) newFold() *fold {
	return &fold{seed: p.seed, id: p.id, partitions: p.partitions, keys: make(map[string]standingKey), misplaced: make(map[string]recordAt)}
}

// add adds a record behind all others of its partition.
func (f *fold) add(r *found) {
	sign := signatureOf(r.headers)
	at := recordAt{r.partition, r.offset + 1}
	if f.topAt.next == 0 || sign.compare(f.top) > 0 {
		f.top, f.topAt = sign, at
	}
	k := keyOf(r)
	e := standingKey{scope: int32(len(k.Scope)), foreign: sign.Writer != f.id}
	if e.foreign {
		f.others++
	}
	if r.value != nil {
		e.digest = 1
		if s := readStanding(r.value); s != nil {
			e.digest = s.digest(f.seed)
		}
	}
	if place(r.key, f.partitions) == r.partition {
		f.keys[string(r.key)] = e
		return
	}
	if stray := fmt.Sprint(r.partition, "/", string(r.key)); r.value == nil {
		delete(f.misplaced, stray)
	} else {
		f.misplaced[stray] = at
	}
}

// key returns the key of a record.
func (e standingKey) key(k string) decisions.Key {
	return decisions.Key{Scope: k[:e.scope], Value: k[min(int(e.scope)+1, len(k)):]}
}

// judge tells whether the topic is ours, after what was read of it. taken says that it has
// just become ours, so that whoever had it before is to notice.
func (p *publisher) judge(f *fold) (taken bool, err error) {
	for _, at := range f.misplaced {
		return false, &personError{fmt.Errorf("the record at %s is not in the partition that its key belongs to: either the topic was given more partitions, "+
			"or another program wrote to it. Create a topic anew, and name that one", at)}
	}
	ours := p.signature()
	switch {
	case f.topAt.next == 0 || f.top.Writer == p.id:
		p.place.Term = max(p.place.Term, f.top.Term, 1)
		return false, nil
	case p.place.Term > 0 && f.top.compare(ours) < 0 && (p.begun || !f.whole): // the topic has ours too
		if !p.strangers {
			p.strangers = true
			p.log.Warn("records of others came into the decisions topic; they are written over. One sluice writes a topic, and nobody else",
				"topic", p.topic.name, "writer", f.top.Writer, "at", f.topAt.String())
		}
		return false, nil
	case p.takeOver && !p.begun:
		p.place.Term = max(p.place.Term, f.top.Term) + 1
		p.log.Warn("the decisions topic is taken over, as take_over says; remove the key again",
			"topic", p.topic.name, "writer", f.top.Writer, "term", p.place.Term)
		return true, nil
	}
	return false, &personError{fmt.Errorf("another writer has it (%s, at %s), and one sluice writes a topic. Stop that one, or name a topic of this one's own; "+
		"where it is gone for good, or this one has lost its folder of decisions, start once with take_over: true", f.top.name(), f.topAt)}
}

// name is for people.
func (s signature) name() string {
	if s.Writer == "" {
		return "records without the header " + HeaderWriter
	}
	return "the sluice with the store " + s.Writer
}

// mend writes anew the keys of a fold whose newest record is not what is in force.
func (p *publisher) mend(ctx context.Context, f *fold) error {
	var due []string
	flush := func(least int) error {
		if len(due) <= least {
			return nil
		}
		err := p.correct(ctx, f, due)
		due = due[:0]
		return err
	}
	for k, e := range f.keys {
		if e.seen {
			continue
		}
		due = append(due, k)
		if err := flush(pageKeys); err != nil {
			return err
		}
	}
	return flush(0)
}

// correct writes those of keys whose newest record is not what is in force, or not ours.
func (p *publisher) correct(ctx context.Context, f *fold, names []string) error {
	keys := make([]decisions.Key, len(names))
	for i, name := range names {
		keys[i] = f.keys[name].key(name)
	}
	states, err := p.feed.States(keys)
	if err != nil {
		return fed(err)
	}
	now, wrong, strays := p.now(), states[:0], []string(nil)
	for i := range states {
		e := f.keys[names[i]]
		if states[i].String() != names[i] { // it is no scope:value, and so nothing is in force on it
			if e.digest != 0 {
				strays = append(strays, names[i])
			}
			continue
		}
		s := standingOf(&states[i], now)
		if _, _, err := s.record(p.signature(), p.maxRecord); err != nil { // it may be shorter now
			return fed(err)
		}
		if e.digest != s.digest(p.seed) || e.digest != 0 && e.foreign {
			wrong = append(wrong, states[i])
			p.decisions.Add(uint64(len(s.Decisions)))
		}
	}
	return p.put(ctx, wrong, strays...)
}

// rebuild reads the whole topic and writes what differs from what is in force.
func (p *publisher) rebuild(ctx context.Context, cluster string, spans []span) error {
	f := p.newFold()
	f.whole = true
	if err := p.topic.read(ctx, spans, f.add); err != nil {
		return err
	}
	if _, err := p.judge(f); err != nil {
		return err
	}
	p.begun, p.place.Cluster, p.ends = true, cluster, ends(spans)
	var due []string
	seq, err := p.feed.Keys(func(page []decisions.Key) error {
		due = due[:0]
		for _, k := range page {
			name := k.String()
			e, there := f.keys[name]
			if there && e.seen {
				continue
			}
			if e.seen = true; !there {
				e.scope = int32(len(k.Scope))
			}
			f.keys[name] = e
			due = append(due, name)
		}
		for len(due) > 0 {
			n := min(pageKeys, len(due))
			if err := p.correct(ctx, f, due[:n]); err != nil {
				return err
			}
			due = due[n:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.mend(ctx, f); err != nil {
		return err
	}
	p.log.Info("the decisions topic was compared with what is in force", "topic", p.topic.name, "records", len(f.keys), "others", f.others)
	return p.save(seq)
}
