package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"

	"sluice/pipeline"
	"sluice/sources"
)

// tenure is the time of one generation: what this member reads in it.
type tenure struct {
	generation
	// end ends it; the first reason counts.
	end func(reason error)
	// parts holds the partitions whose tenure is written down, and what each
	// commit of them carries. Group.mu guards it.
	parts map[pipeline.Partition]claim
}

// claim is one partition's part of a tenure.
type claim struct {
	began int64  // offset
	text  string // metadata of its commits
}

// claim writes down that this member's tenures of partitions begin at offsets,
// and makes the group stand there. Nothing is read before: see sources.Accepted.
func (g *Group) claim(ctx context.Context, t *tenure, at sources.Positions, known map[pipeline.Partition]standing) error {
	texts := make(map[pipeline.Partition]string, len(at))
	for part, offset := range at {
		texts[part] = tenuresText(known[part].begun(g.self, offset))
	}
	for wait := g.newBackoff(); ; {
		refused, err := g.send(ctx, t.generation, at, texts)
		for _, r := range refused {
			err = errors.Join(err, r)
		}
		switch {
		case err == nil:
			g.mu.Lock()
			for part, offset := range at {
				t.parts[part] = claim{offset, texts[part]}
			}
			g.mu.Unlock()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case fences(err):
			t.end(&lostError{err})
			return err
		case g.refused(err):
			return g.explain(err)
		}
		g.health.Failed("group", g.explain(err))
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// Commit implements sources.Source, under the generation of the group's that
// the member is in. What it refuses wraps sources.ErrFenced, unless the group
// tells that the offset was accepted before, by a commit whose answer got lost.
func (g *Group) Commit(ctx context.Context, next sources.Positions) error {
	if len(next) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.config.RequestTimeout)
	defer cancel()
	mine, fenced := make(sources.Positions), make(map[pipeline.Partition]error)
	texts := make(map[pipeline.Partition]string)
	g.mu.Lock()
	t := g.current
	for part, offset := range next {
		c, ok := claim{}, false
		if t != nil {
			c, ok = t.parts[part]
		}
		if !ok || offset < c.began {
			fenced[part] = nil
			continue
		}
		mine[part], texts[part] = offset, c.text
	}
	g.mu.Unlock()
	var failed []error
	if len(mine) > 0 {
		refused, err := g.send(ctx, t.generation, mine, texts)
		if err != nil {
			return err
		}
		for part, err := range refused {
			if fences(err) {
				fenced[part] = err
				t.end(&lostError{err})
			} else {
				failed = append(failed, err)
			}
			delete(mine, part)
		}
		g.accepted(mine)
	}
	failed = append(failed, g.settle(ctx, next, fenced)...)
	slices.SortFunc(failed, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(failed...)
}

// fences tells whether an error says that the member's generation is over.
func fences(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) || errors.Is(err, kafka.FencedInstanceID)
}

// settle finds out what became of offsets that can be committed no more: an
// earlier commit of them may have been accepted though its answer got lost.
func (g *Group) settle(ctx context.Context, next sources.Positions, fenced map[pipeline.Partition]error) (failed []error) {
	if len(fenced) == 0 {
		return nil
	}
	var parts []pipeline.Partition
	for part := range fenced {
		parts = append(parts, part)
	}
	standings, err := g.standings(ctx, parts)
	if err != nil {
		return []error{fmt.Errorf("kafka: group %q: whether offsets were committed is not known: %w", g.config.Group, err)}
	}
	for part, cause := range fenced {
		st := standings[part]
		if accepted, _ := sources.Accepted(st.history(g.self), st.committed, next[part]); accepted {
			continue
		}
		err := fmt.Errorf("kafka: topic %q, partition %d: offset %d of group %q is not committed: %w",
			part.Topic, part.ID, next[part], g.config.Group, sources.ErrFenced)
		if cause != nil {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		failed = append(failed, err)
	}
	return failed
}

// send commits offsets with their metadata, and returns what was refused by partition.
func (g *Group) send(ctx context.Context, gen generation, at sources.Positions, texts map[pipeline.Partition]string) (map[pipeline.Partition]error, error) {
	if len(at) == 0 {
		return nil, nil
	}
	req := &offsetcommit.Request{GroupID: g.config.Group, GenerationID: gen.id, MemberID: gen.member, RetentionTimeMs: -1}
	byTopic := make(map[string]int)
	for _, part := range sortedPartitions(at) {
		i, ok := byTopic[part.Topic]
		if !ok {
			i = len(req.Topics)
			byTopic[part.Topic] = i
			req.Topics = append(req.Topics, offsetcommit.RequestTopic{Name: part.Topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, offsetcommit.RequestPartition{
			PartitionIndex: part.ID, CommittedOffset: at[part], CommitTimestamp: -1, CommittedLeaderEpoch: -1, CommittedMetadata: texts[part],
		})
	}
	if err := g.enterOffsets(ctx); err != nil {
		return nil, err
	}
	defer g.leaveOffsets()
	msg, err := g.offsets.ask(ctx, g.config.RequestTimeout, req)
	if err != nil {
		return nil, fmt.Errorf("kafka: offsets are not committed: %w", err)
	}
	refused := make(map[pipeline.Partition]error)
	answered := 0
	for _, t := range msg.(*offsetcommit.Response).Topics {
		for _, p := range t.Partitions {
			answered++
			if err := g.offsets.heed(p.ErrorCode); err != nil {
				refused[pipeline.Partition{Source: g.Name(), Topic: t.Name, ID: p.PartitionIndex}] =
					fmt.Errorf("kafka: topic %q, partition %d: the offset of group %q is not committed: %w", t.Name, p.PartitionIndex, g.config.Group, err)
			}
		}
	}
	if answered < len(at) {
		return nil, errors.New("kafka: offsets are not committed: the coordinator's answer leaves partitions out")
	}
	return refused, nil
}

// standings asks where the group stands.
func (g *Group) standings(ctx context.Context, parts []pipeline.Partition) (map[pipeline.Partition]standing, error) {
	out := make(map[pipeline.Partition]standing, len(parts))
	if len(parts) == 0 {
		return out, nil
	}
	req := &offsetfetch.Request{GroupID: g.config.Group}
	byTopic := make(map[string]int)
	for _, part := range parts {
		out[part] = standing{committed: -1}
		i, ok := byTopic[part.Topic]
		if !ok {
			i = len(req.Topics)
			byTopic[part.Topic] = i
			req.Topics = append(req.Topics, offsetfetch.RequestTopic{Name: part.Topic})
		}
		req.Topics[i].PartitionIndexes = append(req.Topics[i].PartitionIndexes, part.ID)
	}
	if err := g.enterOffsets(ctx); err != nil {
		return nil, err
	}
	defer g.leaveOffsets()
	msg, err := g.offsets.ask(ctx, g.config.RequestTimeout, req)
	if err != nil {
		return nil, err
	}
	res := msg.(*offsetfetch.Response)
	if err := g.offsets.heed(res.ErrorCode); err != nil {
		if errors.Is(err, kafka.GroupIdNotFound) {
			return out, nil // some brokers say it of a group that never committed
		}
		return nil, err
	}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if err := g.offsets.heed(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("topic %q, partition %d: %w", t.Name, p.PartitionIndex, err)
			}
			part := pipeline.Partition{Source: g.Name(), Topic: t.Name, ID: p.PartitionIndex}
			tenures, err := parseTenures(p.Metadata)
			if err != nil {
				g.log.Warn("what the group knows of a partition cannot be read", "topic", t.Name, "partition", p.PartitionIndex, "error", err)
			}
			out[part] = standing{committed: p.CommittedOffset, tenures: tenures}
		}
	}
	return out, nil
}
