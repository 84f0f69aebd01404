// Command demo shows Sluice at work on a machine with nothing but Go: it
// starts a Kafka-protocol broker in this process, writes a stream of web and
// SSH logs with attacks in it to two topics, and runs the pipeline of
// configs/demo.yaml on them. With -produce it is the stream of logs alone, for
// a broker and a pipeline elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sync/errgroup"

	"sluice/benchmarks/workload"
	"sluice/cmd/internal/app"

	// The sources and sinks that the configuration names.
	_ "sluice/sinks/file"
	_ "sluice/sources/kafka"
)

func main() {
	config := flag.String("config", "configs/demo.yaml", "the pipeline's configuration file")
	rate := flag.Int("rate", 1000, "lines a second")
	length := flag.Duration("for", 0, "stop after this long; 0 runs until interrupted")
	seed := flag.Uint64("seed", 1, "seed of the stream of logs")
	to := flag.String("produce", "", "write the logs to the broker at this address, and do nothing else")
	devices := flag.String("mqtt", "", "with -produce, publish those of devices to the MQTT broker at this URL, too, a tenth as many")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *length > 0 {
		var cancel context.CancelFunc
		// The end of the time is an end like Ctrl-C, not a deadline that was missed.
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer time.AfterFunc(*length, cancel).Stop()
	}
	run := func() error { return demo(ctx, *config, *rate, *seed) }
	if *to != "" {
		run = func() error { return produceAll(ctx, *to, *devices, *rate, *seed) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// topics are where each kind of line goes; configs/demo.yaml reads them.
var topics = map[workload.Kind]string{workload.Syslog: "logs.syslog", workload.Nginx: "logs.nginx"}

func demo(ctx context.Context, config string, rate int, seed uint64) error {
	broker, err := startBroker()
	if err != nil {
		return err
	}
	defer broker.Close()
	address := broker.ListenAddrs()[0]
	if err := os.Setenv("SLUICE_KAFKA", address); err != nil {
		return fmt.Errorf("telling the pipeline where the broker is: %w", err)
	}
	fmt.Fprintf(os.Stderr, "broker on %s · %d lines/s to %s and %s · Ctrl-C stops\n",
		address, rate, topics[workload.Syslog], topics[workload.Nginx])
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return produce(ctx, address, rate, seed) })
	eg.Go(func() error { return app.RunFile(ctx, config, false, os.Stdout, os.Stderr) })
	return eg.Wait()
}

// startBroker starts the broker on Kafka's usual port, or, when that is taken, on a free one.
func startBroker() (*kfake.Cluster, error) {
	options := func(port int) []kfake.Opt {
		return []kfake.Opt{
			kfake.NumBrokers(1), kfake.Ports(port),
			kfake.SeedTopics(4, topics[workload.Syslog], topics[workload.Nginx]),
		}
	}
	if c, err := kfake.NewCluster(options(9092)...); err == nil {
		return c, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("looking for a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("looking for a free port: %w", err)
	}
	c, err := kfake.NewCluster(options(port)...)
	if err != nil {
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	return c, nil
}

// produce writes lines at the rate, in ten portions a second.
func produce(ctx context.Context, address string, rate int, seed uint64) error {
	if rate < 1 {
		return fmt.Errorf("a rate of %d lines a second shows nothing; give at least 1", rate)
	}
	w := &kafka.Writer{
		Addr: kafka.TCP(address), Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 10 * time.Millisecond, AllowAutoTopicCreation: true,
	}
	defer w.Close()
	stream := workload.New(workload.Options{
		Seed: seed, Start: time.Now(), Step: time.Second / time.Duration(rate), Attacks: 0.006,
	})
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	written, start := 0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			due := int(now.Sub(start).Seconds()*float64(rate)) - written
			messages := make([]kafka.Message, 0, due)
			for range due {
				l := stream.Next()
				messages = append(messages, kafka.Message{Topic: topics[l.Kind], Key: []byte(l.Key), Value: []byte(l.Text)})
			}
			written += len(messages)
			if err := w.WriteMessages(ctx, messages...); err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
				return fmt.Errorf("writing logs to the broker: %w", err)
			}
		}
	}
}
