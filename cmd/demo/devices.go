package main

import (
	"context"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"

	"sluice/benchmarks/workload"
)

// produceAll writes logs to Kafka and, where a broker of MQTT is named, to it.
func produceAll(ctx context.Context, kafka, devices string, rate int, seed uint64) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return produce(ctx, kafka, rate, seed) })
	if devices != "" {
		eg.Go(func() error { return publish(ctx, devices, max(1, rate/10), seed+1) })
	}
	return eg.Wait()
}

// publish publishes lines of SSH servers, as gateways would, at the rate.
func publish(ctx context.Context, url string, rate int, seed uint64) error {
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("demo").SetOrderMatters(true))
	if err := finished(ctx, client.Connect()); err != nil {
		return fmt.Errorf("connecting to %s: %w", url, err)
	}
	defer client.Disconnect(250)
	stream := workload.New(workload.Options{Seed: seed, Start: time.Now(), Step: time.Second / time.Duration(rate), Attacks: 0.05, Syslog: 1})
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		line := stream.Next()
		for line.Kind != workload.Syslog {
			line = stream.Next()
		}
		if err := finished(ctx, client.Publish("devices/gateway/syslog", 1, false, line.Text)); err != nil && ctx.Err() == nil {
			return fmt.Errorf("publishing to %s: %w", url, err)
		}
	}
}

// finished waits for what a token stands for.
func finished(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}
