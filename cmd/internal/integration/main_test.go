//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/cmd/internal/integration/kafkatest"
	"sluice/cmd/internal/integration/rig"
)

// parts are the real things that all tests use. TestMain sets them once.
var parts struct {
	kafka  *kafkatest.Kafka
	broker *broker // of one node
	binary string  // sluice
	root   string  // of the repository
}

// broker is a running Kafka and the connection to ask it by.
type broker struct {
	*kafkatest.Cluster
	admin *kafkatest.Admin
}

// startBroker starts a Kafka; close ends it.
func startBroker(ctx context.Context, dir string, o kafkatest.Options) (*broker, error) {
	c, err := parts.kafka.Start(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	admin, err := kafkatest.NewAdmin(c.Brokers())
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &broker{c, admin}, nil
}

func (b *broker) close() error {
	b.admin.Close()
	return b.Close()
}

func TestMain(m *testing.M) {
	os.Exit(kafkatest.Main(os.Stdout, func(k *kafkatest.Kafka) int {
		parts.kafka = k
		code, err := withParts(m.Run)
		if err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
			return 1
		}
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "integration:", err)
			return 1
		}
		return code
	}))
}

// withParts builds sluice and starts Kafka around the tests.
func withParts(run func() int) (code int, err error) {
	if parts.root, err = rig.Root(); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "sluice-integration-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	parts.binary = filepath.Join(dir, "sluice")
	if err := rig.Build(parts.binary); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if parts.broker, err = startBroker(ctx, filepath.Join(dir, "kafka"), kafkatest.Options{}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, parts.broker.close()) }()
	return run(), nil
}
