package kafka

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"sluice/sources"
)

// balancer decides which member reads what: a partition goes to the member
// whose state holds it, and what no present member holds is spread evenly.
// Partitions of one number go together, whatever their topics, since a key
// that is in several topics is in the same partition of each. The outcome does
// not depend on the order in which members and partitions are given.
//
// A member keeps all that its state holds, even when it is much more than a
// newcomer has: moving a partition away from its state would lose the state.
//
// It runs on the group's leader alone.
type balancer struct {
	// held is what this member announces.
	held held
	// standing returns what the group knows of a partition.
	standing func(topic string, id int) standing
	log      *slog.Logger
}

var _ kafka.GroupBalancer = (*balancer)(nil)

// ProtocolName implements kafka.GroupBalancer.
func (*balancer) ProtocolName() string { return "sluice-state" }

// UserData implements kafka.GroupBalancer.
func (b *balancer) UserData() ([]byte, error) { return b.held.encode(), nil }

// candidate is a member during an assignment.
type candidate struct {
	kafka.GroupMember
	held
	load int // partitions assigned so far
}

// unit is what goes to one member: the partitions of one number, of the topics
// that the same members have subscribed to.
type unit struct {
	id         int
	topics     []string
	candidates []*candidate
}

// AssignGroups implements kafka.GroupBalancer. Every partition that somebody
// has subscribed to is assigned to one member.
func (b *balancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	out := make(kafka.GroupMemberAssignments)
	var candidates []*candidate
	for _, m := range members {
		c := &candidate{GroupMember: m}
		var err error
		if c.held, err = decodeHeld(m.UserData); err != nil {
			b.log.Warn("a member of the group is taken to hold nothing", "member", m.ID, "error", err)
		}
		candidates = append(candidates, c)
		out[m.ID] = make(map[string][]int)
	}
	slices.SortFunc(candidates, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.ID, b.ID))
	})
	assign := func(u *unit, to *candidate) {
		to.load += len(u.topics)
		for _, topic := range u.topics {
			out[to.ID][topic] = append(out[to.ID][topic], u.id)
		}
	}
	var free []*unit
	for _, u := range unitsOf(candidates, partitions) {
		if holder := b.holder(u); holder != nil {
			assign(u, holder)
		} else {
			free = append(free, u)
		}
	}
	// The largest first: what comes last evens out what came before.
	slices.SortStableFunc(free, func(a, b *unit) int { return cmp.Compare(len(b.topics), len(a.topics)) })
	for _, u := range free {
		assign(u, slices.MinFunc(u.candidates, func(a, b *candidate) int { return cmp.Compare(a.load, b.load) }))
	}
	for _, topics := range out {
		for _, ids := range topics {
			slices.Sort(ids)
		}
	}
	return out
}

// unitsOf returns the units, sorted by number and topics.
func unitsOf(candidates []*candidate, partitions []kafka.Partition) []*unit {
	subscribed := make(map[string][]*candidate) // by topic, in the order of candidates
	for _, c := range candidates {
		for _, topic := range c.Topics {
			if list := subscribed[topic]; len(list) == 0 || list[len(list)-1] != c {
				subscribed[topic] = append(list, c)
			}
		}
	}
	sorted := slices.Clone(partitions)
	slices.SortFunc(sorted, func(a, b kafka.Partition) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Topic, b.Topic))
	})
	units := make(map[string]*unit)
	var out []*unit
	for _, p := range sorted {
		list := subscribed[p.Topic]
		if len(list) == 0 {
			continue
		}
		key := fmt.Sprint(p.ID)
		for _, c := range list {
			key += " " + c.ID
		}
		u := units[key]
		if u == nil {
			u = &unit{id: p.ID, candidates: list}
			units[key] = u
			out = append(out, u)
		}
		if !slices.Contains(u.topics, p.Topic) {
			u.topics = append(u.topics, p.Topic)
		}
	}
	return out
}

// holder returns the member whose state holds a unit: for each of its
// partitions the one that stands at the highest offset, and of several the one
// that does so for the most. State that was refused in the group does not
// count, however far it went on: others have done its work since. Nor does
// state that is still empty, so that members who start one after the other on
// new topics share them.
func (b *balancer) holder(u *unit) *candidate {
	type claim struct{ won, sum int64 }
	claims := make(map[*candidate]claim)
	for _, topic := range u.topics {
		var best *candidate
		for _, c := range u.candidates {
			offset, ok := c.topics[topic][int32(u.id)]
			if !ok || b.worthless(topic, u.id, c.name, offset) {
				continue
			}
			claims[c] = claim{claims[c].won, claims[c].sum + offset}
			if best == nil || offset > best.topics[topic][int32(u.id)] {
				best = c
			}
		}
		if best != nil {
			claims[best] = claim{claims[best].won + 1, claims[best].sum}
		}
	}
	var holder *candidate
	for _, c := range u.candidates { // the first of equals
		cl, ok := claims[c]
		if best := claims[holder]; ok && (holder == nil || cl.won > best.won || cl.won == best.won && cl.sum > best.sum) {
			holder = c
		}
	}
	return holder
}

// worthless tells whether a member's state of a partition is not worth to
// return to: the group refused it, or no record has been read into it yet.
func (b *balancer) worthless(topic string, id int, name string, offset int64) bool {
	if b.standing == nil {
		return false
	}
	st := b.standing(topic, id)
	if st.untouched() && offset == st.committed {
		return true
	}
	accepted, known := sources.Accepted(st.history(name), st.committed, offset)
	return known && !accepted
}

// uneven names the topics and their numbers of partitions when they differ, "" otherwise.
func uneven(partitions []kafka.Partition) string {
	counts := make(map[string]int)
	for _, p := range partitions {
		counts[p.Topic]++
	}
	var out []string
	differ := false
	for topic, n := range counts {
		out = append(out, fmt.Sprintf("%s %d", topic, n))
		for _, other := range counts {
			differ = differ || other != n
		}
	}
	if !differ {
		return ""
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
