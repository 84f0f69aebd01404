package kafkatest

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// settings are what a node runs with, for n nodes: small, and quick to notice
// what happens to others.
func settings(n int) map[string]string {
	replicas, inSync := strconv.Itoa(n), strconv.Itoa(n/2+1)
	return map[string]string{
		"process.roles":                                    "broker,controller",
		"controller.listener.names":                        "CONTROLLER",
		"inter.broker.listener.name":                       "PLAINTEXT",
		"listener.security.protocol.map":                   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"auto.create.topics.enable":                        "false",
		"default.replication.factor":                       replicas,
		"min.insync.replicas":                              inSync,
		"offsets.topic.replication.factor":                 replicas,
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    inSync,
		"transaction.state.log.num.partitions":             "4",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            inSync,
		"share.coordinator.state.topic.num.partitions":     "1",
		// Members that are gone, and brokers, are missed soon.
		"group.initial.rebalance.delay.ms":   "0",
		"group.min.session.timeout.ms":       "500",
		"broker.heartbeat.interval.ms":       "500",
		"broker.session.timeout.ms":          "3000",
		"controller.quorum.fetch.timeout.ms": "1000",
		"replica.lag.time.max.ms":            "3000",
		// Records go when a test deletes them, not sooner.
		"log.retention.ms":    "-1",
		"num.network.threads": "2",
		"num.io.threads":      "4",
		// A small machine has no use for more threads and buffers.
		"background.threads":                "2",
		"log.cleaner.threads":               "1",
		"log.cleaner.dedupe.buffer.size":    "4194304",
		"num.recovery.threads.per.data.dir": "1",
	}
}

// properties renders a node's settings as Kafka reads them.
func (c *Cluster) properties(n *node) []byte {
	s := settings(len(c.nodes))
	var voters []string
	for _, m := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", m.id, m.controller))
	}
	s["node.id"] = strconv.Itoa(n.id)
	s["controller.quorum.voters"] = strings.Join(voters, ",")
	s["listeners"] = "PLAINTEXT://" + n.broker + ",CONTROLLER://" + n.controller
	s["advertised.listeners"] = "PLAINTEXT://" + n.broker
	for _, name := range slices.Sorted(maps.Keys(n.listeners)) {
		at := "," + name + "://" + n.listeners[name]
		s["listeners"] += at
		s["advertised.listeners"] += at
		s["listener.security.protocol.map"] += "," + name + ":" + c.opts.Listeners[name]
	}
	s["log.dirs"] = filepath.Join(n.dir, "data")
	maps.Copy(s, c.opts.Settings)
	var b bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s=%s\n", key, s[key])
	}
	return b.Bytes()
}
