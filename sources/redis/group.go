package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// membership is how the group stands at a stream.
type membership struct {
	delivered int64    // the offset of the last entry that it delivered
	read      int64    // how many entries were ever added up to that one; 0 when unknown, as before Redis 7
	lag       int64    // how many entries it has yet to deliver; -1 when unknown
	known     bool     // this consumer is in it
	others    []string // the other consumers
}

// group asks how the group stands; nil when it, or the stream, does not exist.
func (s *Source) group(ctx context.Context, key string) (*membership, error) {
	groups, err := s.client.XInfoGroups(ctx, key).Result()
	if err != nil {
		if noKey(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("redis: asking for the groups of %s: %w", key, err)
	}
	for _, g := range groups {
		if g.Name != s.config.Group {
			continue
		}
		m := &membership{read: g.EntriesRead, lag: g.Lag}
		if m.delivered, err = offsetOf(g.LastDeliveredID); err != nil {
			return nil, &finalError{fmt.Errorf("%w; the group cannot be followed from here", err)}
		}
		consumers, err := s.client.XInfoConsumers(ctx, key, s.config.Group).Result()
		if err != nil {
			return nil, fmt.Errorf("redis: asking for the consumers of %s: %w", s.config.Group, err)
		}
		for _, c := range consumers {
			if c.Name == s.config.Consumer {
				m.known = true
			} else {
				m.others = append(m.others, c.Name)
			}
		}
		return m, nil
	}
	return nil, nil
}

// join makes the group where there is none, settles what is pending, and reads
// what the group has delivered and this source has not seen.
func (r *reader) join(ctx context.Context) error {
	m, err := r.member(ctx)
	if err != nil {
		return err
	}
	if len(m.others) > 0 && !r.s.config.SharedGroup {
		return &finalError{fmt.Errorf("the group %q has other consumers, such as %q; set shared_group: true to divide the entries with them, "+
			"or name a group of this source's own", r.s.config.Group, m.others[0])}
	}
	r.ours = r.ours || r.known
	alone := r.ours && !r.s.config.SharedGroup
	if err := r.settle(ctx, !alone); err != nil {
		return err
	}
	if alone {
		if err := r.catchUp(ctx, m.delivered); err != nil {
			return err
		}
	}
	r.ours = true
	r.watch, r.until = alone, r.s.clock.Now().Add(longestBlock+lookInterval)
	return nil
}

// member returns how the group stands, and makes it where there is none: at
// the position, or where the configuration says.
func (r *reader) member(ctx context.Context) (*membership, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*r.s.config.RequestTimeout) // a few requests
	defer cancel()
	for {
		m, err := r.s.group(ctx, r.stream.key)
		if m != nil || err != nil {
			return m, err
		}
		at := "0-0"
		switch {
		case r.known:
			at = idOf(r.next - 1)
		case r.s.config.Start == StartLatest:
			at = "$"
		}
		err = r.s.client.XGroupCreateMkStream(ctx, r.stream.key, r.s.config.Group, at).Err()
		if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") { // another makes it at the moment
			return nil, fmt.Errorf("making the group %s: %w", r.s.config.Group, err)
		}
	}
}

// settle goes through what the group delivered to this consumer and was not
// told to be through. emit says that what was not emitted yet is emitted.
func (r *reader) settle(ctx context.Context, emit bool) error {
	after := "0-0"
	for {
		ask, cancel := context.WithTimeout(ctx, r.s.config.RequestTimeout)
		entries, err := r.answer(r.s.client.XReadGroup(ask, &redis.XReadGroupArgs{
			Group: r.s.config.Group, Consumer: r.s.config.Consumer, Streams: []string{r.stream.key, after}, Count: r.count, Block: -1,
		}).Result())
		cancel()
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		after = entries[len(entries)-1].ID
		if entries, err = r.sift(ctx, entries, emit); err != nil {
			return err
		}
		if err := r.take(ctx, entries); err != nil {
			return err
		}
	}
}

// sift leaves of pending entries those to take: without those that are not there any more, which nobody can
// read, and, unless emit is set, without those that come by catchUp.
func (r *reader) sift(ctx context.Context, entries []redis.XMessage, emit bool) (left []redis.XMessage, err error) {
	var gone []int64
	missed := 0
	for _, e := range entries {
		offset, err := offsetOf(e.ID)
		switch {
		case err != nil:
			return nil, &finalError{fmt.Errorf("%w; read it elsewhere and acknowledge it with XACK", err)}
		case e.Values == nil:
			gone = append(gone, offset)
			if offset >= r.next {
				missed++
			}
		case emit || offset < r.next:
			left = append(left, e)
		}
	}
	if missed > 0 {
		r.s.gaps.Add(1)
		r.s.log.Warn("entries are missing", "stream", r.stream.key, "why", "they were delivered, and deleted or trimmed away before they were read", "entries", missed)
	}
	if len(gone) > 0 {
		return left, r.s.acknowledge(ctx, r.stream, gone)
	}
	return left, nil
}

// catchUp reads what the group has delivered up to an offset and this source has not seen.
func (r *reader) catchUp(ctx context.Context, delivered int64) error {
	for r.next <= delivered {
		ask, cancel := context.WithTimeout(ctx, r.s.config.RequestTimeout)
		entries, err := r.s.client.XRangeN(ask, r.stream.key, idOf(r.next), idOf(delivered), r.count).Result()
		cancel()
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if len(entries) == 0 {
			return nil
		}
		r.fresh = false
		if err := r.take(ctx, entries); err != nil {
			return err
		}
	}
	return nil
}

// askGroup waits for entries that the group has delivered to nobody yet.
func (r *reader) askGroup(ctx context.Context) ([]redis.XMessage, error) {
	entries, err := r.answer(r.blocking.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: r.s.config.Group, Consumer: r.s.config.Consumer, Streams: []string{r.stream.key, ">"}, Count: r.count, Block: r.s.config.Block,
	}).Result())
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	if first, err := offsetOf(entries[0].ID); err == nil { // else take says so
		if err := r.overtake(ctx, first-1); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// overtake reads what was delivered, up to an offset, to a request that a
// connection before this one had left at the server, and that found its entries only when
// this session had begun. None waits longer than a read may.
func (r *reader) overtake(ctx context.Context, delivered int64) error {
	if !r.watch {
		return nil
	}
	last := r.s.clock.Now().After(r.until)
	fresh := r.fresh
	err := r.catchUp(ctx, delivered)
	r.fresh = fresh
	r.watch = err != nil || !last
	return err
}

// remember has Commit acknowledge entries. Those that are through already are acknowledged at once.
func (r *reader) remember(ctx context.Context, offsets []int64) error {
	through := min(r.stream.through(), r.next)
	n := 0
	for n < len(offsets) && offsets[n] < through {
		n++
	}
	r.stream.emitted(offsets[n:]...)
	if n == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.s.config.RequestTimeout)
	defer cancel()
	if err := r.s.acknowledge(ctx, r.stream, offsets[:n]); err != nil {
		return errors.Join(errors.New("settling what is pending"), err)
	}
	return nil
}
