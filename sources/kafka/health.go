package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go"

	"sluice/sources"
)

func (s *Source) newBackoff() *sources.Backoff {
	return &sources.Backoff{Clock: s.clock, Min: s.config.BackoffMin, Max: s.config.BackoffMax}
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
