package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline/decisions"
	"sluice/sinks"
)

// publisher keeps the decisions topic: for every key the newest record is what
// is in force on it, or a tombstone. It follows the changes of a store of
// decisions and writes the state of each key that they touch, never a change
// itself, so that writing twice does no harm.
//
// It knows at which offset every partition ends with its own last record.
// Whatever else comes to stand in the topic shows as a gap there: a record of
// its own whose acknowledgement was lost and that came late, or one of somebody
// else. Gaps are read, and keys that they leave wrong are written again.
type publisher struct {
	sink     string
	brokers  []string
	topic    *topic
	feed     sinks.DecisionFeed
	takeOver bool
	// maxRecord bounds a record, in bytes; checkEvery is how often an idle topic is looked at.
	maxRecord  int64
	checkEvery time.Duration
	log        *slog.Logger
	now        func() time.Time
	after      func(time.Duration) <-chan time.Time
	seed       maphash.Seed

	id         string // of the feed
	place      whereabouts
	ends       []int64 // by partition, behind the last record that is known; ahead of place.Ends between two saves
	partitions []int
	begun      bool // the topic has been ours in this run
	checked    bool // the topic's settings were looked at
	failing    bool // the log has heard of it
	strangers  bool // the log has heard of records of others

	decisions, expired, bytes, errors, refused atomic.Uint64
}

// whereabouts is what outlives a restart: the topic has the state of each key as of
// change Seq, and nothing else in it is behind Ends.
type whereabouts struct {
	Cluster string  `json:"cluster"`
	Seq     int64   `json:"seq"`
	Term    int64   `json:"term"` // that the topic was written in; 0 for never
	Ends    []int64 `json:"ends"` // by partition
}

// pageKeys is how many changes, or keys, are taken at once.
const pageKeys = 1000

// The waits after errors double up to the longest.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 10 * time.Second
)

// lastTime is how long changes of the last moment are written for when the pipeline ends.
const lastTime = 3 * time.Second

// personError needs a person: trying again is in vain.
type personError struct{ err error }

func (e *personError) Error() string { return e.err.Error() }
func (e *personError) Unwrap() error { return e.err }

// fed makes an error of the feed one that ends the run.
func fed(err error) error {
	if err == nil {
		return nil
	}
	return &personError{err}
}

// run keeps the topic until ctx is done, and then writes what changed last,
// for a while. An error needs a person.
func (p *publisher) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var both errgroup.Group
	both.Go(func() error {
		defer cancel()
		return p.keep(ctx, work)
	})
	both.Go(func() error {
		select {
		case <-ctx.Done():
		case <-work.Done():
			return nil
		}
		select {
		case <-p.after(lastTime):
			cancel()
		case <-work.Done():
		}
		return nil
	})
	return both.Wait()
}

// keep has one session after the other until ctx is done. Requests are made under work.
func (p *publisher) keep(ctx, work context.Context) error {
	if err := p.open(); err != nil {
		return p.where(err)
	}
	for wait := firstWait; ; {
		err := p.session(ctx, work)
		var person *personError
		switch {
		case errors.As(err, &person):
			return p.where(person.err)
		case ctx.Err() != nil:
			if err != nil {
				p.log.Info("the last changes are written to the decisions topic at the next start", "topic", p.topic.name, "error", err)
			}
			return nil
		}
		if errors.Is(err, errGone) {
			p.place.Ends = nil // it is compared as a whole
		}
		if !p.failing {
			wait = firstWait
		}
		p.failed(err)
		select {
		case <-p.after(wait - rand.N(wait/4)):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, longestWait)
	}
}

// open takes up what is known of the topic.
func (p *publisher) open() (err error) {
	if err := p.feed.Open(); err != nil {
		return err
	}
	if p.id, err = p.feed.ID(); err != nil {
		return err
	}
	text, err := p.feed.Place(p.follower())
	if err != nil || text == nil {
		return err
	}
	if json.Unmarshal(text, &p.place) != nil {
		p.place = whereabouts{} // then the topic tells
	}
	return nil
}

func (p *publisher) follower() string { return "kafka/" + p.sink + "/" + p.topic.name }

// save makes durable that the topic is as of change seq.
func (p *publisher) save(seq int64) error {
	p.place.Seq, p.place.Ends = seq, slices.Clone(p.ends)
	text, err := json.Marshal(&p.place)
	if err != nil {
		return fed(err)
	}
	return fed(p.feed.SetPlace(p.follower(), text))
}

// where says where an error is.
func (p *publisher) where(err error) error {
	return fmt.Errorf("sink %s: decisions_topic %q, brokers %s: %w", p.sink, p.topic.name, strings.Join(p.brokers, ", "), err)
}

// failed says once that the topic is not kept, and well that it is again.
func (p *publisher) failed(err error) {
	p.errors.Add(1)
	if p.failing {
		return
	}
	p.failing = true
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		err = fmt.Errorf("the topic does not exist; create it, with cleanup.policy=compact: %w", err)
	}
	p.log.Warn("decisions are not written to their topic; it is tried again", "error", p.where(err))
}

func (p *publisher) well() {
	if p.failing {
		p.failing = false
		p.log.Info("decisions are written to their topic again", "topic", p.topic.name)
	}
}

// session brings the topic up to date and then follows the changes, until
// something fails. nil means that ctx is done and the last changes are written.
func (p *publisher) session(ctx, work context.Context) error {
	if err := p.begin(work); err != nil {
		return err
	}
	p.well()
	check := p.after(p.checkEvery)
	for {
		changed := p.feed.Changed()
		if err := p.drain(work); err != nil {
			return err
		}
		p.well()
		select {
		case <-changed:
		case <-check:
			if err := p.look(work); err != nil {
				return err
			}
			check = p.after(p.checkEvery)
		case <-ctx.Done():
			return p.drain(work)
		}
	}
}

// begin brings the topic to a state that is known: from what has been written
// since, where that can be told, or else by reading all of it.
func (p *publisher) begin(ctx context.Context) error {
	cluster, spans, err := p.topic.layout(ctx)
	if err != nil {
		return err
	}
	p.settings(ctx)
	p.partitions = make([]int, len(spans))
	for i := range spans {
		p.partitions[i] = i
	}
	if cluster != p.place.Cluster || !p.place.within(spans) {
		return p.rebuild(ctx, cluster, spans)
	}
	gaps := slices.Clone(spans)
	for i := range gaps {
		gaps[i].start = p.place.Ends[i]
	}
	behind := p.newFold()
	if err := p.topic.read(ctx, gaps, behind.add); err != nil {
		return err
	}
	if taken, err := p.judge(behind); err != nil {
		return err
	} else if taken { // all of it gets our name
		return p.rebuild(ctx, cluster, spans)
	}
	p.begun, p.ends = true, ends(spans)
	if err := p.mend(ctx, behind); err != nil {
		return err
	}
	return p.save(p.place.Seq)
}

func ends(spans []span) []int64 {
	out := make([]int64, len(spans))
	for i := range spans {
		out[i] = spans[i].end
	}
	return out
}

// within tells whether the topic can still hold what was written.
func (w *whereabouts) within(spans []span) bool {
	if w.Term == 0 || len(w.Ends) != len(spans) {
		return false
	}
	for i, s := range spans {
		if w.Ends[i] < s.start || w.Ends[i] > s.end {
			return false
		}
	}
	return true
}

// drain writes the states of what has changed.
func (p *publisher) drain(ctx context.Context) error {
	for {
		t, known, err := p.feed.Touched(p.place.Seq, pageKeys)
		if err != nil {
			return fed(err)
		}
		if !known { // it was away for longer than changes are remembered
			p.place.Ends = nil
			if err := p.begin(ctx); err != nil {
				return err
			}
			continue
		}
		if t.Last == p.place.Seq {
			return nil
		}
		if err := p.put(ctx, t.Keys); err != nil {
			return err
		}
		p.decisions.Add(uint64(t.Added))
		p.expired.Add(uint64(t.Expired))
		if err := p.save(t.Last); err != nil {
			return err
		}
	}
}

// look finds records that came to the topic without our doing.
func (p *publisher) look(ctx context.Context) error {
	spans, err := p.topic.spans(ctx, len(p.partitions))
	if err != nil {
		return err
	}
	some := false
	for i := range spans {
		if spans[i].end < p.ends[i] {
			return errGone
		}
		some = some || spans[i].end > p.ends[i]
		spans[i].start, p.ends[i] = p.ends[i], spans[i].end
	}
	if !some {
		return nil
	}
	if err := p.fill(ctx, spans); err != nil {
		return err
	}
	return p.save(p.place.Seq)
}

// fill reads gaps and writes anew what they have made wrong.
func (p *publisher) fill(ctx context.Context, gaps []span) error {
	f := p.newFold()
	if err := p.topic.read(ctx, gaps, f.add); err != nil {
		return err
	}
	if _, err := p.judge(f); err != nil {
		return err
	}
	return p.mend(ctx, f)
}

// put writes the states of keys, tombstones for strays, which are keys of
// nothing, and what gaps before them have made wrong.
func (p *publisher) put(ctx context.Context, states []decisions.State, strays ...string) error {
	if len(states)+len(strays) == 0 {
		return nil
	}
	byPartition := make([][]outRecord, len(p.partitions))
	now, sign := p.now(), p.signature()
	for i := range states {
		r, fits, err := standingOf(&states[i], now).record(sign, p.maxRecord)
		if err != nil || !fits {
			p.tooLarge(r.key, err)
			continue
		}
		n := place(r.key, p.partitions)
		byPartition[n] = append(byPartition[n], r)
	}
	for _, key := range strays {
		r := outRecord{key: []byte(key), headers: sign.headers()}
		n := place(r.key, p.partitions)
		byPartition[n] = append(byPartition[n], r)
	}
	gaps := make([]span, len(p.partitions))
	all, inner := errgroup.WithContext(ctx)
	all.SetLimit(readers)
	for n, records := range byPartition {
		if len(records) > 0 {
			all.Go(func() error { return p.putPartition(inner, n, records, &gaps[n]) })
		}
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if slices.ContainsFunc(gaps, func(s span) bool { return s.end > s.start }) {
		return p.fill(ctx, gaps)
	}
	return nil
}

// putPartition writes records to a partition, and widens gap to what stood before them unexpectedly.
func (p *publisher) putPartition(ctx context.Context, n int, records []outRecord, gap *span) error {
	for _, batch := range p.topic.batches(records) {
		base, err := p.topic.write(ctx, n, batch)
		switch {
		case errors.Is(err, kafka.MessageSizeTooLarge) && len(batch) == 1:
			p.tooLarge(batch[0].key, err)
			continue
		case errors.Is(err, kafka.MessageSizeTooLarge):
			for i := range batch {
				if err := p.putPartition(ctx, n, batch[i:i+1], gap); err != nil {
					return err
				}
			}
			continue
		case err != nil:
			return fmt.Errorf("partition %d: %w", n, err)
		case base < p.ends[n]:
			return errGone
		case base > p.ends[n]:
			if gap.end == 0 {
				gap.start = p.ends[n]
			}
			gap.end = base
		}
		p.ends[n] = base + int64(len(batch))
		for i := range batch {
			p.bytes.Add(uint64(len(batch[i].value)))
		}
	}
	return nil
}

// tooLarge says that a key's record cannot be written: the topic keeps its old one.
func (p *publisher) tooLarge(key []byte, err error) {
	p.refused.Add(1)
	p.log.Error("the decisions on a key do not fit into a record, and their topic is wrong about it; raise max_message_bytes, and max.message.bytes of the topic",
		"topic", p.topic.name, "key", string(key), "error", err)
}

func (p *publisher) signature() signature { return signature{p.place.Term, p.id} }

// settings looks at the topic's settings, once: it warns where records would
// be lost or kept for ever, and writes no larger ones than it takes.
func (p *publisher) settings(ctx context.Context) {
	if p.checked {
		return
	}
	s, err := p.topic.settings(ctx)
	switch {
	case errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		p.log.Info("the settings of the decisions topic may not be read; see that it has cleanup.policy=compact", "topic", p.topic.name)
	case err != nil:
		return // the next session asks again
	case s.policy != "compact":
		p.log.Warn("the decisions topic is not compacted: it grows, and may forget decisions in force; set cleanup.policy=compact, "+
			"as by kafka-configs.sh --alter --entity-type topics --entity-name "+p.topic.name+" --add-config cleanup.policy=compact",
			"topic", p.topic.name, "cleanup.policy", s.policy)
	}
	if s.maxMessage > 0 && s.maxMessage < p.maxRecord {
		p.maxRecord, p.topic.maxBytes = s.maxMessage, s.maxMessage
	}
	p.checked = true
}
