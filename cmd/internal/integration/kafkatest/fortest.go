package kafkatest

import (
	"context"
	"testing"
	"time"
)

// Starting is what Kafka may take to start: it takes seconds, and on a machine that is very busy minutes.
const Starting = 4 * time.Minute

// StartFor starts a cluster for a test, in a folder of the test's, and an
// Admin of it. Both end with the test, which fails where they cannot start.
func (k *Kafka) StartFor(t testing.TB, o Options) (*Cluster, *Admin) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Starting)
	defer cancel()
	c, err := k.Start(ctx, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	admin, err := NewAdmin(c.Brokers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	return c, admin
}
