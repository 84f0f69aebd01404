// Command kafka starts a real Apache Kafka on free loopback ports, to try
// things out on:
//
//	go run ./cmd/internal/integration/kafka -nodes 3
//
// It prints the brokers' addresses, and what each node's process id is, so that
// one can be killed. Ctrl-C ends it, and removes its data unless -dir was given.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"sluice/cmd/internal/integration/kafkatest"
)

func main() {
	nodes := flag.Int("nodes", 1, "how many nodes: 1, or 3 to lose one")
	dir := flag.String("dir", "", "the folder of its data; a temporary one when empty")
	topics := flag.String("topics", "", "topics to create, separated by commas")
	partitions := flag.Int("partitions", 8, "partitions of each topic")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *nodes, strings.FieldsFunc(*topics, func(r rune) bool { return r == ',' }), *partitions); err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, nodes int, topics []string, partitions int) (err error) {
	if nodes < 1 {
		return fmt.Errorf("a cluster of %d nodes cannot be; give -nodes 1 or 3", nodes)
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sluice-kafka-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	k, err := kafkatest.Install(ctx)
	if err != nil {
		return err
	}
	cluster, err := k.Start(ctx, dir, kafkatest.Options{Nodes: nodes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	if err := create(ctx, cluster.Brokers(), topics, partitions); err != nil {
		return err
	}
	fmt.Println(strings.Join(cluster.Brokers(), ","))
	for i, b := range cluster.Brokers() {
		fmt.Fprintf(os.Stderr, "node %d at %s is process %d\n", i+1, b, cluster.PID(i+1))
	}
	fmt.Fprintf(os.Stderr, "data and logs are in %s · Ctrl-C stops\n", dir)
	<-ctx.Done()
	return nil
}

func create(ctx context.Context, brokers, topics []string, partitions int) error {
	admin, err := kafkatest.NewAdmin(brokers)
	if err != nil {
		return err
	}
	defer admin.Close()
	for _, t := range topics {
		if err := admin.CreateTopic(ctx, t, partitions, nil); err != nil {
			return err
		}
	}
	return nil
}
