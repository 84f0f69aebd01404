package kinesis

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"golang.org/x/sync/errgroup"

	"sluice/sources"
	"sluice/sources/intake"
)

// shard is one shard as Kinesis lists it.
type shard struct {
	id      string
	number  int32
	parents []string
	keys    hashRange
	closed  bool // no record will be put into it any more
}

// supervisor finds the shards and starts their readers. Its fields are its
// own goroutine's; readers tell it by ended.
type supervisor struct {
	*Source
	client client
	share  sources.Share
	slots  chan struct{} // as many as readers may hold an answer

	first   bool            // nothing of the stream was ever read
	created string          // which stream of its name the marks are of
	marks   map[string]mark // of all shards met, by id
	running map[string]*reader
	ended   chan string // ids of shards that were read to their ends
}

func newSupervisor(s *Source, c client, share sources.Share) *supervisor {
	return &supervisor{
		Source: s, client: c, share: share, slots: make(chan struct{}, s.config.Readers),
		marks: make(map[string]mark), running: make(map[string]*reader), ended: make(chan string),
	}
}

// run looks for shards until ctx is done or a reader cannot go on.
func (v *supervisor) run(ctx context.Context) error {
	marks := v.intake.Marks()
	v.created = marks[streamKey]
	v.first = v.created == ""
	for key, text := range marks {
		id, ok := strings.CutPrefix(key, shardPrefix)
		if !ok {
			continue
		}
		m, err := parseMark(text)
		if err != nil {
			return err
		}
		v.marks[id] = m
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.supervise(ctx, group) })
	return group.Wait()
}

func (v *supervisor) supervise(ctx context.Context, group *errgroup.Group) error {
	const what = "the list of shards"
	backoff := sources.Backoff{Clock: v.clock, Min: v.config.BackoffMin, Max: v.config.BackoffMax}
	for {
		var found *stream
		if err := backoff.Until(ctx, v.health, what, func(ctx context.Context) (err error) {
			found, err = v.look(ctx)
			return err
		}); err != nil {
			return err
		}
		if err := v.plan(ctx, group, found); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.clock.After(v.config.RefreshInterval):
		case id := <-v.ended:
			v.over(id)
		}
	}
}

// over is for a shard that was read to its end.
func (v *supervisor) over(id string) {
	v.marks[id] = mark{place: placeEnd}
	delete(v.running, id)
	v.delays.Note(id, -1)
	v.log.Info("a shard has ended", "shard", id)
}

// stream is what a look at the stream finds.
type stream struct {
	created   string // tells streams of the same name apart
	retention time.Duration
	now       time.Time // by Kinesis's clock
	shards    []shard   // sorted by number
}

// look asks Kinesis for the stream and its shards.
func (v *supervisor) look(ctx context.Context) (*stream, error) {
	arn, name := v.stream()
	about, err := v.client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamARN: arn, StreamName: name})
	if err != nil {
		return nil, err
	}
	d := about.StreamDescriptionSummary
	found := &stream{retention: time.Duration(aws.ToInt32(d.RetentionPeriodHours)) * time.Hour, now: v.clock.Now(), created: "unknown"}
	if d.StreamCreationTimestamp != nil {
		found.created = strconv.FormatInt(d.StreamCreationTimestamp.UnixMilli(), 10)
	}
	// In whole seconds, and so never ahead of Kinesis's own clock.
	if now, ok := awsmiddleware.GetServerTime(about.ResultMetadata); ok {
		found.now = now
	}
	in := &kinesis.ListShardsInput{StreamARN: arn, StreamName: name}
	for {
		out, err := v.client.ListShards(ctx, in)
		if err != nil {
			return nil, err
		}
		for i := range out.Shards {
			s, err := newShard(&out.Shards[i])
			if err != nil {
				return nil, err
			}
			found.shards = append(found.shards, s)
		}
		if out.NextToken == nil {
			break
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken}
	}
	slices.SortFunc(found.shards, func(a, b shard) int { return int(a.number) - int(b.number) })
	return found, nil
}

func newShard(s *types.Shard) (shard, error) {
	out := shard{id: aws.ToString(s.ShardId)}
	_, digits, _ := strings.Cut(out.id, "-")
	number, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return out, fmt.Errorf("the shard %q has no number", out.id)
	}
	out.number = int32(number)
	for _, parent := range []*string{s.ParentShardId, s.AdjacentParentShardId} {
		if id := aws.ToString(parent); id != "" {
			out.parents = append(out.parents, id)
		}
	}
	if r := s.HashKeyRange; r != nil {
		var low, high bool
		out.keys.low, low = new(big.Int).SetString(aws.ToString(r.StartingHashKey), 10)
		out.keys.high, high = new(big.Int).SetString(aws.ToString(r.EndingHashKey), 10)
		if !low || !high {
			return out, fmt.Errorf("the shard %s has no range of hash keys", out.id)
		}
	}
	out.closed = s.SequenceNumberRange != nil && s.SequenceNumberRange.EndingSequenceNumber != nil
	return out, nil
}

// mine tells whether a shard belongs to this process's share: by the middle of
// its range of hash keys, which every process sees alike, whatever it has
// read before. A child belongs to the process of its parent unless the
// parent's range crossed the border of a slice.
func (v *supervisor) mine(s shard) bool {
	if v.share.Count == 0 || s.keys.low == nil {
		return true
	}
	middle := new(big.Int).Add(s.keys.low, s.keys.high)
	middle.Rsh(middle, 1)
	slice := middle.Mul(middle, big.NewInt(int64(v.share.Count)))
	slice.Rsh(slice, 128)
	return slice.Int64() == int64(v.share.Ordinal)
}

// plan brings what is known in line with what was found, and starts the
// readers of the shards that may be read now.
func (v *supervisor) plan(ctx context.Context, group *errgroup.Group, found *stream) error {
	listed := make(map[string]bool, len(found.shards))
	var mine []shard
	for _, s := range found.shards {
		listed[s.id] = true
		if v.mine(s) {
			mine = append(mine, s)
		}
	}
	// All in one entry: a crash must not leave a stream that is known and shards that are not.
	marks := make(map[string]string)
	if err := v.sameStream(found, marks); err != nil {
		return err
	}
	if err := v.forget(listed, marks); err != nil {
		return err
	}
	v.begin(found, mine, marks)
	if len(marks) > 0 {
		if err := v.intake.Put(ctx, intake.Entry{Marks: marks}, nil); err != nil {
			return err
		}
	}
	for _, s := range mine {
		if r := v.running[s.id]; r != nil {
			r.retention.Store(int64(found.retention))
			r.closed.Store(s.closed)
			continue
		}
		if v.marks[s.id].place == placeEnd || v.waits(s, mine) {
			continue
		}
		r := newReader(v, s, v.marks[s.id], found.retention)
		v.running[s.id] = r
		group.Go(func() error { return r.run(ctx) })
	}
	return nil
}

// waits tells whether a parent of a shard is still to be read here. One that
// another process reads is not waited for: its records meet none of ours.
func (v *supervisor) waits(s shard, mine []shard) bool {
	return slices.ContainsFunc(mine, func(p shard) bool {
		return slices.Contains(s.parents, p.id) && v.marks[p.id].place != placeEnd
	})
}

// sameStream makes sure that the marks are of this stream, and not of one of
// the same name that was deleted.
func (v *supervisor) sameStream(found *stream, marks map[string]string) error {
	if v.created == found.created {
		return nil
	}
	if v.created != "" {
		if len(v.running) > 0 {
			// Readers of the old one hold iterators of it: begin anew as a whole.
			return fmt.Errorf("kinesis: the stream %s was deleted and made again while it was read; start sluice again", v.config.streamName())
		}
		if err := v.gap("", "the stream was deleted and made again"); err != nil {
			return err
		}
		for id := range v.marks {
			marks[shardPrefix+id] = ""
		}
		clear(v.marks)
	}
	v.created, marks[streamKey] = found.created, found.created
	return nil
}

// forget drops the marks of shards that Kinesis no longer lists. Those that
// were not read to their ends took records with them.
func (v *supervisor) forget(listed map[string]bool, marks map[string]string) error {
	for _, id := range slices.Sorted(maps.Keys(v.marks)) {
		if listed[id] || v.running[id] != nil {
			continue
		}
		if v.marks[id].place != placeEnd {
			if err := v.gap(id, "the shard is gone, and had not been read to its end"); err != nil {
				return err
			}
		}
		delete(v.marks, id)
		marks[shardPrefix+id] = ""
	}
	return nil
}

// begin marks the shards that are new: at the very first start by the
// configuration, later at their oldest record, since they begin then.
func (v *supervisor) begin(found *stream, mine []shard, marks map[string]string) {
	start := mark{place: placeOldest, seen: found.now}
	if v.first {
		at, _ := v.config.startTime() // Validate has seen it
		switch {
		case v.config.Start == StartLatest:
			// As a time, since that can be written down and come back to.
			start.place, start.at = placeTime, found.now
		case !at.IsZero():
			start.place, start.at = placeTime, at
		}
		v.first = false
	}
	var begun []string
	for _, s := range mine {
		if _, known := v.marks[s.id]; !known {
			v.marks[s.id] = start
			marks[shardPrefix+s.id] = start.String()
			begun = append(begun, s.id)
		}
	}
	if len(begun) > 0 {
		v.log.Info("new shards are read", "count", len(begun), "first", begun[0], "from", start.place)
	}
}
