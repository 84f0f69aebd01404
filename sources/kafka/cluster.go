package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"sluice/pipeline"
	"sluice/pipeline/kafkaconn"
)

// cluster knows which broker leads a partition. It asks over a connection of
// its own, and anew whenever what it said turned out wrong: a client that
// trusts old metadata hangs on a broker that leads no more.
type cluster struct {
	connector *kafkaconn.Connector

	// lock is held by who asks or reads the rest, and by nobody while empty.
	lock    chan struct{}
	conn    *kafkaconn.Conn
	asked   map[string]bool // topics to ask for
	version uint64          // of what is known; counts the answers
	brokers map[int32]string
	topics  map[string]metadata.ResponseTopic

	reached atomic.Bool // an answer has come before
}

func newCluster(connector *kafkaconn.Connector) *cluster {
	return &cluster{connector: connector, lock: make(chan struct{}, 1), asked: make(map[string]bool)}
}

// errMissing says that the brokers do not know a topic or a partition.
var errMissing = errors.New("the brokers do not know it")

// leadership is who leads a partition, as of one answer.
type leadership struct {
	address string
	epoch   int32
	version uint64
}

// leader returns a partition's leader from an answer newer than version stale.
func (c *cluster) leader(ctx context.Context, part pipeline.Partition, stale uint64) (leadership, error) {
	if err := c.enter(ctx); err != nil {
		return leadership{}, err
	}
	defer c.leave()
	c.asked[part.Topic] = true
	if _, known := c.topics[part.Topic]; c.version <= stale || !known {
		if err := c.refresh(ctx, false); err != nil {
			return leadership{}, err
		}
	}
	at := leadership{version: c.version}
	topic, ok := c.topics[part.Topic]
	if !ok || topic.ErrorCode != 0 {
		return at, topicError(topic)
	}
	for _, p := range topic.Partitions {
		if p.PartitionIndex != part.ID {
			continue
		}
		address, known := c.brokers[p.LeaderID]
		if !known {
			return at, kafka.LeaderNotAvailable
		}
		at.address, at.epoch = address, p.LeaderEpoch
		return at, nil
	}
	return at, errMissing
}

// topicError explains why a topic of an answer cannot be read.
func topicError(t metadata.ResponseTopic) error {
	if t.ErrorCode == 0 || kafka.Error(t.ErrorCode) == kafka.UnknownTopicOrPartition {
		return errMissing
	}
	return kafka.Error(t.ErrorCode)
}

// look asks for topics, or for all there are, and returns what the brokers say of each.
func (c *cluster) look(ctx context.Context, names []string, all bool) (map[string]metadata.ResponseTopic, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	defer c.leave()
	for _, name := range names {
		c.asked[name] = true
	}
	if err := c.refresh(ctx, all); err != nil {
		return nil, err
	}
	return c.topics, nil // a map is never changed once it is here
}

func (c *cluster) enter(ctx context.Context) error {
	select {
	case c.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cluster) leave() { <-c.lock }

// refresh asks the brokers, over the connection there is or a new one to any of them.
func (c *cluster) refresh(ctx context.Context, all bool) error {
	req := &metadata.Request{} // no names: all topics
	if !all {
		req.TopicNames = make([]string, 0, len(c.asked))
		for name := range c.asked {
			req.TopicNames = append(req.TopicNames, name)
		}
	}
	if c.conn != nil {
		if err := c.ask(ctx, req); err == nil || ctx.Err() != nil {
			return err
		}
	}
	var failed error
	for _, address := range c.addresses() {
		conn, err := c.connector.Connect(ctx, address)
		if err == nil {
			c.conn = conn
			err = c.ask(ctx, req)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if failed == nil {
			failed = err
		} else {
			failed = fmt.Errorf("%w; %w", failed, err)
		}
	}
	return failed
}

// addresses are where to connect to: the configured brokers first, and then those heard of.
func (c *cluster) addresses() []string {
	out := slices.Clone(c.connector.Brokers())
	for _, address := range c.brokers {
		if !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	return out
}

func (c *cluster) ask(ctx context.Context, req *metadata.Request) error {
	msg, err := c.conn.Ask(ctx, req)
	if err != nil {
		c.close()
		return fmt.Errorf("metadata: %w", err)
	}
	res := msg.(*metadata.Response)
	c.brokers = make(map[int32]string, len(res.Brokers))
	for _, b := range res.Brokers {
		c.brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	c.topics = make(map[string]metadata.ResponseTopic, len(res.Topics))
	for _, t := range res.Topics {
		c.topics[t.Name] = t
	}
	c.version++
	c.reached.Store(true)
	return nil
}

// close ends the connection.
func (c *cluster) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
