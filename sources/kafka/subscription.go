package kafka

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/consumer"
)

// What members and leader of a group say to each other through the
// coordinator, which passes it on. It is the format that all consumers use, so
// that Kafka's own tools can show who reads what.

// protocolType names that format.
const protocolType = "consumer"

// encodeSubscription returns what a member says when it joins.
func encodeSubscription(topics []string, userData []byte) ([]byte, error) {
	return protocol.Marshal(consumer.MaxVersionSupported, consumer.Subscription{
		Version: consumer.MaxVersionSupported, Topics: topics, UserData: userData,
	})
}

// encodeAssignment returns what the leader says to a member.
func encodeAssignment(topics map[string][]int) ([]byte, error) {
	a := consumer.Assignment{Version: consumer.MaxVersionSupported}
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		p := consumer.TopicPartition{Topic: topic}
		for _, id := range topics[topic] {
			p.Partitions = append(p.Partitions, int32(id))
		}
		a.AssignedPartitions = append(a.AssignedPartitions, p)
	}
	return protocol.Marshal(consumer.MaxVersionSupported, a)
}

var errSubscription = errors.New("a member's subscription or assignment is damaged")

// decodeSubscription reads what a member of any version said.
func decodeSubscription(data []byte) (topics []string, userData []byte, err error) {
	r := &fixed{data: data}
	r.int16() // versions only append
	for range r.count(2) {
		topics = append(topics, string(r.bytes(int(r.int16()))))
	}
	userData = r.bytes(int(r.int32()))
	if r.bad {
		return nil, nil, errSubscription
	}
	return topics, userData, nil
}

// decodeAssignment reads what the leader said to this member; nothing is no partition.
func decodeAssignment(data []byte) (map[string][]int32, error) {
	out := make(map[string][]int32)
	if len(data) == 0 {
		return out, nil
	}
	r := &fixed{data: data}
	r.int16()
	for range r.count(6) {
		topic := string(r.bytes(int(r.int16())))
		for range r.count(4) {
			id := r.int32()
			if id < 0 {
				r.bad = true
			}
			out[topic] = append(out[topic], id)
		}
	}
	if r.bad {
		return nil, errSubscription
	}
	return out, nil
}

// fixed reads numbers of fixed length until one is bad; then all are zero.
type fixed struct {
	data []byte
	bad  bool
}

// bytes returns the next n bytes, none when n is negative.
func (r *fixed) bytes(n int) []byte {
	if n < 0 && !r.bad {
		return nil
	}
	if r.bad || n > len(r.data) {
		r.bad = true
		return nil
	}
	out := r.data[:n:n]
	r.data = r.data[n:]
	return out
}

func (r *fixed) int16() int16 {
	if b := r.bytes(2); len(b) == 2 {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *fixed) int32() int32 {
	if b := r.bytes(4); len(b) == 4 {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// count reads a number of things that take size bytes or more each.
func (r *fixed) count(size int) int {
	n := int(r.int32())
	if n < 0 || n > len(r.data)/size {
		r.bad = true
		return 0
	}
	return n
}
