package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"

	"sluice/pipeline/kafkaconn"
)

// coordinator is a connection to the broker that keeps the group. One
// goroutine uses it at a time: a broker answers the requests of a connection
// one after the other, and a join may take minutes.
type coordinator struct {
	s    *Source
	conn *kafkaconn.Conn
	id   int32 // of the last request that roundTrip numbered
}

// ask sends a request to the group's coordinator, which it looks for when
// there is no connection, and waits for the answer up to limit.
func (c *coordinator) ask(ctx context.Context, limit time.Duration, req protocol.Message) (protocol.Message, error) {
	if c.conn != nil && c.conn.Expired(c.s.clock.Now()) {
		c.close()
	}
	if c.conn == nil {
		address, err := c.s.findCoordinator(ctx)
		if err != nil {
			return nil, err
		}
		if c.conn, err = c.s.connector.Connect(ctx, address); err != nil {
			return nil, err
		}
	}
	release := c.conn.Bound(ctx, limit)
	defer release()
	res, err := c.roundTrip(req)
	if err != nil {
		c.close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("group %q: asking its coordinator: %w", c.s.config.Group, err)
	}
	return res, nil
}

// roundTrip uses the first version of Heartbeat and LeaveGroup: of the later
// ones, the library takes the answers' fields in the wrong order, and an error
// for a time.
func (c *coordinator) roundTrip(req protocol.Message) (protocol.Message, error) {
	switch key := req.ApiKey(); key {
	case protocol.Heartbeat, protocol.LeaveGroup:
		version, err := c.conn.Version(key, 0, 0)
		if err != nil {
			return nil, err
		}
		c.id++
		return protocol.RoundTrip(c.conn, version, c.id, c.conn.ClientID(), req)
	}
	return c.conn.RoundTrip(req)
}

// heed gives up the connection when an answer says that the group is kept elsewhere.
func (c *coordinator) heed(code int16) error {
	if code == 0 {
		return nil
	}
	err := kafka.Error(code)
	if err == kafka.NotCoordinatorForGroup || err == kafka.GroupCoordinatorNotAvailable {
		c.close()
	}
	return err
}

func (c *coordinator) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// findCoordinator asks one broker after the other who keeps the group.
func (s *Source) findCoordinator(ctx context.Context) (address string, err error) {
	if err := s.cluster.enter(ctx); err != nil {
		return "", err
	}
	addresses := s.cluster.addresses()
	s.cluster.leave()
	var failed error
	for _, a := range addresses {
		found, err := s.askForCoordinator(ctx, a)
		if err == nil || ctx.Err() != nil {
			return found, err
		}
		failed = errors.Join(failed, err)
	}
	return "", fmt.Errorf("group %q: looking for its coordinator: %w", s.config.Group, failed)
}

func (s *Source) askForCoordinator(ctx context.Context, address string) (string, error) {
	conn, err := s.connector.Connect(ctx, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	msg, err := conn.Ask(ctx, &findcoordinator.Request{Key: s.config.Group})
	if err != nil {
		return "", err
	}
	res := msg.(*findcoordinator.Response)
	if res.ErrorCode != 0 {
		return "", kafka.Error(res.ErrorCode)
	}
	return net.JoinHostPort(res.Host, strconv.Itoa(int(res.Port))), nil
}
