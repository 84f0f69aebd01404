package mqtt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The marks that are kept with the records. Those of a broker begin with its
// name and a space, since each broker of the list may have a session of its own.
const (
	markClient  = "client"
	markFilters = "filters" // what the session is subscribed to
	markID      = "id"      // a message of QoS 2, by its id, that was taken and not let go
)

// memory is what is known of a broker's session. All but the inbox is one goroutine's.
type memory struct {
	broker  string
	durable bool // it is kept in marks
	inbox   *inbox
	// filters is what the session is subscribed to, a line of QoS and filter
	// each, sorted; "" when there is no session.
	filters string
}

// mark is the name of one of the broker's marks.
func (m *memory) mark(what string) string { return m.broker + " " + what }

func (m *memory) idMark(id uint16) string { return m.mark(fmt.Sprintf("%s %d", markID, id)) }

// remember reads what the marks say of each broker. stale are marks that mean
// nothing any more: of brokers that are gone, or of another client.
func remember(brokers []broker, client string, durable bool, marks map[string]string) (memories []*memory, stale []string) {
	for i := range brokers {
		memories = append(memories, &memory{broker: brokers[i].name, durable: durable, inbox: newInbox()})
	}
	own := durable && marks[markClient] == client
	for mark, value := range marks {
		if mark != markClient && !(own && slices.ContainsFunc(memories, func(m *memory) bool { return m.restore(mark, value) })) {
			stale = append(stale, mark)
		}
	}
	return memories, stale
}

// restore takes up a mark if it is one of the broker's.
func (m *memory) restore(mark, value string) bool {
	what, ok := strings.CutPrefix(mark, m.broker+" ")
	if !ok {
		return false
	}
	if what == markFilters {
		m.filters = value
		return true
	}
	number, ok := strings.CutPrefix(what, markID+" ")
	id, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil {
		return false
	}
	m.inbox.restore(uint16(id))
	return true
}

// lost forgets a session that the broker does not have any more, and returns
// the marks that it leaves.
func (m *memory) lost() (stale []string) {
	for _, id := range m.inbox.clear() {
		stale = append(stale, m.idMark(id))
	}
	if m.filters != "" {
		stale = append(stale, m.mark(markFilters))
	}
	m.filters = ""
	return stale
}

// wanted writes the subscriptions as memory.filters has them.
func wanted(patterns []pattern) string {
	lines := make([]string, len(patterns))
	for i := range patterns {
		lines[i] = fmt.Sprintf("%d %s", patterns[i].qos, patterns[i].wire)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// changes compares what a session is subscribed to with what is wanted: what
// to subscribe to, by its QoS, and what to give up. A filter
// may hold any character but NUL, so that a line end in one makes it look like two: then too
// much is subscribed to again, which does no harm.
func changes(have string, patterns []pattern) (subscribe []pattern, unsubscribe []string) {
	had := make(map[string]string)
	for line := range strings.SplitSeq(have, "\n") {
		if qos, wire, ok := strings.Cut(line, " "); ok {
			had[wire] = qos
		}
	}
	for _, p := range patterns {
		if had[p.wire] != strconv.Itoa(int(p.qos)) {
			subscribe = append(subscribe, p)
		}
		delete(had, p.wire)
	}
	for wire := range had {
		unsubscribe = append(unsubscribe, wire)
	}
	slices.Sort(unsubscribe)
	return subscribe, unsubscribe
}
