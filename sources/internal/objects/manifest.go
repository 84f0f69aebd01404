package objects

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// manifest numbers the objects that were found, and knows them for a while.
// Any goroutine may use it.
type manifest struct {
	s   *Source
	log refLog

	// writing, of one, is held by whoever writes: numbers are given in the order
	// of the log. It is a channel since it is waited for while the disk is full.
	writing chan struct{}
	broken  error // why nothing may be written any more; under writing

	mu      sync.Mutex
	memory  *memory
	marks   map[string]string
	pending []Ref // objects from the number reading on
	reading int64 // objects before it were emitted
	held    int64 // objects before it are held by a checkpoint
	trimmed time.Time
	changed chan struct{} // closed and made anew when pending changes
}

// refLog is a durable log with numbers, and with marks that are written with its records.
type refLog interface {
	// run serves append until ctx is done.
	run(ctx context.Context) error
	// append writes references and marks, synced. After an error, ctx's too,
	// nobody knows what is there, and nothing may be appended any more.
	append(ctx context.Context, records [][]byte, marks map[string]string) error
	// ends are the number of the first record that is there, and that of the next to come.
	ends() (first, next int64)
	// read calls a function with the records that were there when the log was opened.
	read(each func(seq int64, record []byte) error) error
	marks() map[string]string
	// trim lets go of records before a number, as far as that is convenient.
	trim(before int64) error
	close() error
}

// markTopic is the mark that says whose manifest it is.
const markTopic = "topic"

// trimEvery is how often it is looked whether the log may be trimmed.
const trimEvery = time.Minute

// openManifest reads what the log has. start is the offset at which reading resumes.
func openManifest(s *Source, log refLog, start int64) (*manifest, error) {
	m := &manifest{s: s, log: log, memory: newMemory(s.config.RememberObjects), marks: log.marks(), changed: make(chan struct{}), writing: make(chan struct{}, 1)}
	first, next := log.ends()
	seq, index := placeOf(start)
	if topic, ok := m.marks[markTopic]; ok && topic != s.partition.Topic {
		return nil, fmt.Errorf("the manifest in %s is that of %q, and %q is configured; give the source a name of its own, or remove the folder", s.dir, topic, s.partition.Topic)
	}
	if seq > next || seq == next && index > 0 {
		return nil, fmt.Errorf("the state has read %d objects, and the manifest in %s knows of %d; bring the folder back that belongs to the state, "+
			"or give the source another name, to begin anew", seq, s.dir, next)
	}
	if start > 0 && seq < first {
		s.gaps.Add(1)
		s.log.Warn("the state is older than the manifest: objects between them are not read", "state", seq, "manifest", first)
	}
	m.held = max(seq, first)
	m.reading = m.held
	now := s.clock.Now().Unix()
	err := log.read(func(seq int64, record []byte) error {
		r, err := parseRef(record)
		if err != nil {
			return err
		}
		if seq >= m.reading {
			m.pending = append(m.pending, r)
		}
		m.memory.add(m.remembered(&r, identityOf(&r, s.format.WrittenOnce), seq))
		m.memory.forget(now, m.held)
		return nil
	})
	if err != nil {
		return nil, folderError(s.dir, err)
	}
	return m, nil
}

// sign says in the log whose manifest it is.
func (m *manifest) sign(ctx context.Context) error {
	if m.mark(markTopic) != "" {
		return nil
	}
	_, err := m.add(ctx, nil, map[string]string{markTopic: m.s.partition.Topic})
	return err
}

// remembered is what is known of an object. One that a listing may list again must not be forgotten.
func (m *manifest) remembered(r *Ref, id identity, seq int64) remembered {
	c := &m.s.config
	e := remembered{id: id, seq: seq, until: r.Found + int64(c.Remember/time.Second)}
	if c.Bucket != "" { // twice: the clocks of S3 and of this machine differ, and a pass takes its time
		e.hard = r.Modified/1000 + 2*int64(c.Lookback/time.Second) + int64(time.Hour/time.Second)
	}
	return e
}

// add gives numbers to references, known ones those that they have, and
// returns them in their order. Marks are kept with them. When it returns, all is on disk.
func (m *manifest) add(ctx context.Context, refs []Ref, marks map[string]string) ([]int64, error) {
	select {
	case m.writing <- struct{}{}:
		defer func() { <-m.writing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if m.broken != nil {
		return nil, m.broken
	}
	numbers, fresh, known, err := m.number(refs)
	if err != nil || len(fresh) == 0 && len(marks) == 0 {
		return numbers, err
	}
	records := make([][]byte, len(fresh))
	for i := range fresh {
		if records[i], err = fresh[i].append(nil); err != nil {
			return nil, err
		}
	}
	if m.broken = m.log.append(ctx, records, marks); m.broken != nil {
		m.broken = folderError(m.s.dir, m.broken)
		return nil, m.broken
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, next := m.log.ends(); next != m.reading+int64(len(m.pending)+len(fresh)) { // an offset would mean another object
		m.broken = fmt.Errorf("the manifest in %s has %d objects, and %d were found; start again", m.s.dir, next, m.reading+int64(len(m.pending)+len(fresh)))
		return nil, m.broken
	}
	for k, v := range marks {
		m.marks[k] = v
	}
	m.pending = append(m.pending, fresh...)
	for i := range known {
		m.memory.add(known[i])
	}
	m.memory.forget(m.s.clock.Now().Unix(), m.held)
	m.wake()
	return numbers, nil
}

// number tells new references from known ones.
func (m *manifest) number(refs []Ref) (numbers []int64, fresh []Ref, known []remembered, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	numbers = make([]int64, len(refs))
	batch := make(map[identity]int64)
	next := m.reading + int64(len(m.pending))
	now := m.s.clock.Now().Unix()
	for i, r := range refs {
		id := identityOf(&r, m.s.format.WrittenOnce)
		seq, ok := m.memory.number(id)
		if !ok {
			seq, ok = batch[id]
		}
		if ok {
			numbers[i] = seq
			continue
		}
		r.Found = now
		numbers[i] = next + int64(len(fresh))
		batch[id] = numbers[i]
		fresh = append(fresh, r)
		known = append(known, m.remembered(&r, id, numbers[i]))
	}
	if next+int64(len(fresh)) >= MaxObjects {
		return nil, nil, nil, fmt.Errorf("the source has read %d objects and has no more numbers; give it another name, to begin anew", next)
	}
	return numbers, fresh, known, nil
}

// wake must be called with the lock held.
func (m *manifest) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// wait waits, with the lock held but while it waits, until done holds.
func (m *manifest) wait(ctx context.Context, done func() bool) error {
	for !done() {
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		m.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// read returns the reference of a number, once there is one. Those that were emitted are not there any more.
func (m *manifest) read(ctx context.Context, seq int64) (Ref, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.wait(ctx, func() bool { return seq < m.reading+int64(len(m.pending)) }); err != nil {
		return Ref{}, err
	}
	return m.pending[seq-m.reading], nil
}

// room waits until more objects may be found.
func (m *manifest) room(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wait(ctx, func() bool { return len(m.pending) < m.s.config.MaxPending })
}

// readUpTo says that all objects before a number were emitted.
func (m *manifest) readUpTo(seq int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := seq - m.reading
	if n <= 0 {
		return
	}
	clear(m.pending[:n])
	m.pending, m.reading = m.pending[n:], seq
	m.wake()
}

// behind returns how many objects there are from a number on.
func (m *manifest) behind(seq int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reading + int64(len(m.pending)) - seq
}

// start is the number at which reading begins.
func (m *manifest) start() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reading
}

// mark returns a mark, or "".
func (m *manifest) mark(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.marks[name]
}

// trim says that a checkpoint holds all objects before a number, and lets the
// log go of what is neither to be read nor to be known.
func (m *manifest) trim(held int64) error {
	m.mu.Lock()
	m.held = max(m.held, held)
	now := m.s.clock.Now()
	due := now.Sub(m.trimmed) >= trimEvery
	before := int64(0)
	if due {
		m.trimmed = now
		m.memory.forget(now.Unix(), m.held)
		before = m.memory.oldest(m.held)
	}
	m.mu.Unlock()
	if !due {
		return nil
	}
	if err := m.log.trim(before); err != nil {
		return folderError(m.s.dir, err)
	}
	return nil
}

func (m *manifest) close() error { return m.log.close() }
