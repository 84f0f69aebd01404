package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
)

// health says once that there is trouble, however many partitions have it,
// and once that it is over.
type health struct {
	log                *slog.Logger
	errors, reconnects atomic.Uint64
	mu                 sync.Mutex
	failing            map[string]bool // by what is failing
}

func (h *health) failed(what string, err error) {
	h.errors.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.failing) == 0 {
		h.log.Warn("reading is interrupted; it is tried again", "error", err)
	}
	h.failing[what] = true
}

func (h *health) well(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.failing[what] {
		return
	}
	delete(h.failing, what)
	if len(h.failing) == 0 {
		h.reconnects.Add(1)
		h.log.Info("reading goes on")
	}
}

// backoff waits longer after each failure in a row.
type backoff struct {
	s    *Source
	wait time.Duration
}

func (s *Source) newBackoff() *backoff { return &backoff{s: s, wait: s.config.BackoffMin} }

// next waits; the error is the context's.
func (b *backoff) next(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.s.clock.After(b.wait):
	}
	b.wait = min(2*b.wait, b.s.config.BackoffMax)
	return nil
}

func (b *backoff) reset() { b.wait = b.s.config.BackoffMin }

// forget is for what will neither fail nor be well any more.
func (h *health) forget(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failing, what)
}

// refused tells whether trying again is in vain until a person changes
// something. A sign-in that is refused once it has worked may work again: when
// a password or a role is being renewed.
func (s *Source) refused(err error) bool {
	for _, code := range []kafka.Error{
		kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.InvalidTopic, kafka.UnsupportedVersion, kafka.UnsupportedSASLMechanism,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return errors.Is(err, kafka.SASLAuthenticationFailed) && !s.cluster.reached.Load()
}

// explain makes an error a sentence that says where.
func (s *Source) explain(err error) error {
	return fmt.Errorf("kafka: brokers %s: %w", strings.Join(s.config.Brokers, ", "), err)
}
