package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/syncgroup"

	"sluice/pipeline"
)

// generation is what a member is told when the group has agreed.
type generation struct {
	id       int32
	member   string               // this member's id in the group
	assigned []pipeline.Partition // sorted
	// counts are the topics that a change of makes it necessary to agree anew,
	// with their numbers of partitions: this member's, and all on the leader.
	counts map[string]int
	since  time.Time // when the coordinator was last heard of
}

// join enters the group, or enters it again, and returns what it agreed on.
func (g *Group) join(ctx context.Context, counts map[string]int) (generation, error) {
	b := &balancer{held: g.held(), log: g.log}
	userData, err := b.UserData()
	if err != nil {
		return generation{}, err
	}
	subscription, err := encodeSubscription(slices.Sorted(maps.Keys(counts)), userData)
	if err != nil {
		return generation{}, err
	}
	req := &joingroup.Request{
		GroupID: g.config.Group, MemberID: g.id, ProtocolType: protocolType,
		SessionTimeoutMS: int32(g.config.SessionTimeout.Milliseconds()), RebalanceTimeoutMS: int32(g.config.RebalanceTimeout.Milliseconds()),
		Protocols: []joingroup.RequestProtocol{{Name: b.ProtocolName(), Metadata: subscription}},
	}
	// The coordinator answers when all others have joined or are given up.
	limit := g.config.RebalanceTimeout + g.config.RequestTimeout
	msg, err := g.control.ask(ctx, limit, req)
	if err != nil {
		return generation{}, err
	}
	res := msg.(*joingroup.Response)
	if kafka.Error(res.ErrorCode) == kafka.MemberIDRequired {
		g.id, req.MemberID = res.MemberID, res.MemberID
		if msg, err = g.control.ask(ctx, limit, req); err != nil {
			return generation{}, err
		}
		res = msg.(*joingroup.Response)
	}
	if err := g.control.heed(res.ErrorCode); err != nil {
		if errors.Is(err, kafka.UnknownMemberId) {
			g.id = ""
		}
		return generation{}, fmt.Errorf("group %q: joining: %w", g.config.Group, err)
	}
	g.id = res.MemberID
	gen := generation{id: res.GenerationID, member: res.MemberID, counts: counts, since: g.clock.Now()}
	var assignments []syncgroup.RequestAssignment
	if res.LeaderID == res.MemberID {
		if assignments, gen.counts, err = g.lead(ctx, b, res); err != nil {
			return generation{}, fmt.Errorf("group %q: leading: %w", g.config.Group, err)
		}
	}
	return gen, g.sync(ctx, &gen, res, assignments)
}

// sync gives the leader's assignment to the coordinator and hears this member's.
func (g *Group) sync(ctx context.Context, gen *generation, joined *joingroup.Response, assignments []syncgroup.RequestAssignment) error {
	msg, err := g.control.ask(ctx, g.config.RebalanceTimeout+g.config.RequestTimeout, &syncgroup.Request{
		GroupID: g.config.Group, GenerationID: gen.id, MemberID: gen.member,
		ProtocolType: protocolType, ProtocolName: joined.ProtocolName, Assignments: assignments,
	})
	if err != nil {
		return err
	}
	res := msg.(*syncgroup.Response)
	if err := g.control.heed(res.ErrorCode); err != nil {
		if errors.Is(err, kafka.UnknownMemberId) {
			g.id = ""
		}
		return fmt.Errorf("group %q: hearing what is assigned: %w", g.config.Group, err)
	}
	topics, err := decodeAssignment(res.Assignments)
	if err != nil {
		return err
	}
	for topic, ids := range topics {
		for _, id := range ids {
			gen.assigned = append(gen.assigned, pipeline.Partition{Source: g.Name(), Topic: topic, ID: id})
		}
	}
	slices.SortFunc(gen.assigned, comparePartitions)
	gen.assigned = slices.Compact(gen.assigned)
	gen.since = g.clock.Now()
	return nil
}

// lead decides for the whole group who reads what.
func (g *Group) lead(ctx context.Context, b *balancer, joined *joingroup.Response) ([]syncgroup.RequestAssignment, map[string]int, error) {
	var members []kafka.GroupMember
	counts := make(map[string]int)
	for _, m := range joined.Members {
		topics, userData, err := decodeSubscription(m.Metadata)
		if err != nil {
			return nil, nil, fmt.Errorf("member %q: %w", m.MemberID, err)
		}
		members = append(members, kafka.GroupMember{ID: m.MemberID, Topics: topics, UserData: userData})
		for _, topic := range topics {
			counts[topic] = 0
		}
	}
	if err := g.count(ctx, counts); err != nil {
		return nil, nil, err
	}
	var partitions []kafka.Partition
	var parts []pipeline.Partition
	for topic, n := range counts {
		for id := range n {
			partitions = append(partitions, kafka.Partition{Topic: topic, ID: id})
			parts = append(parts, pipeline.Partition{Source: g.Name(), Topic: topic, ID: int32(id)})
		}
	}
	if text := uneven(partitions); text != g.uneven {
		if g.uneven = text; text != "" {
			g.log.Warn("topics have different numbers of partitions: a key that is in several of them may be read by different members", "partitions", text)
		}
	}
	// All others have given up their partitions by now: the offsets are final.
	standings, err := g.standings(ctx, parts)
	if err != nil {
		return nil, nil, err
	}
	b.standing = func(topic string, id int) standing {
		return standings[pipeline.Partition{Source: g.Name(), Topic: topic, ID: int32(id)}]
	}
	assigned := b.AssignGroups(members, partitions)
	var out []syncgroup.RequestAssignment
	for _, m := range members {
		text, err := encodeAssignment(assigned[m.ID])
		if err != nil {
			return nil, nil, err
		}
		out = append(out, syncgroup.RequestAssignment{MemberID: m.ID, Assignment: text})
	}
	g.log.Info("the group's partitions are assigned", "generation", joined.GenerationID, "members", len(members), "partitions", len(partitions))
	return out, counts, nil
}

// count fills in how many partitions topics have; none where there is no such topic.
func (g *Group) count(ctx context.Context, counts map[string]int) error {
	topics, err := g.cluster.look(ctx, slices.Sorted(maps.Keys(counts)), g.config.pattern != nil)
	if err != nil {
		return err
	}
	for name := range counts {
		counts[name] = 0
		if t, ok := topics[name]; ok && t.ErrorCode == 0 {
			counts[name] = len(t.Partitions)
		}
	}
	return nil
}

// The reasons for which a tenure ends.
var (
	errRebalance = errors.New("the group's members change")
	errTopics    = errors.New("topics or their partitions change")
)

// lostError says that the partitions belong to others already.
type lostError struct{ cause error }

func (e *lostError) Error() string { return "this member was taken for dead: " + e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// beat keeps the coordinator from taking this member for dead, until ctx ends
// or it does so all the same.
func (g *Group) beat(ctx context.Context, t *tenure) {
	heard := t.since
	req := &heartbeat.Request{GroupID: g.config.Group, GenerationID: t.id, MemberID: t.member}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.clock.After(g.config.HeartbeatInterval):
		}
		asked := g.clock.Now()
		left := g.config.SessionTimeout - asked.Sub(heard)
		if left <= 0 {
			t.end(&lostError{fmt.Errorf("nothing was heard of the coordinator for %v", g.config.SessionTimeout)})
			return
		}
		msg, err := g.control.ask(ctx, min(left, g.config.RequestTimeout), req)
		if err == nil {
			err = g.control.heed(msg.(*heartbeat.Response).ErrorCode)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			heard = asked
			g.health.Well("group")
		case errors.Is(err, kafka.RebalanceInProgress):
			heard = asked
			t.end(errRebalance)
		case fences(err):
			if errors.Is(err, kafka.UnknownMemberId) {
				g.id = ""
			}
			t.end(&lostError{err})
			return
		default:
			g.health.Failed("group", g.explain(fmt.Errorf("heartbeat: %w", err)))
		}
	}
}

// depart leaves the group, so that the others need not wait for this member's
// session to end.
func (g *Group) depart(ctx context.Context) error {
	if g.id == "" {
		return nil
	}
	msg, err := g.control.ask(ctx, g.config.RequestTimeout, &leavegroup.Request{
		GroupID: g.config.Group, MemberID: g.id,
	})
	g.id = ""
	if err != nil {
		return err
	}
	if err := g.control.heed(msg.(*leavegroup.Response).ErrorCode); !fences(err) { // otherwise it is no member any more
		return err
	}
	return nil
}
