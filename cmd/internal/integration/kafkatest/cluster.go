package kafkatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/cmd/internal/integration/process"
)

// Options shape a cluster.
type Options struct {
	Nodes int // each both broker and controller; 1 when 0
	// HeapMiB bounds a node's heap; 384 when 0.
	HeapMiB int
	// Settings are broker settings beside, or instead of, those of settings.
	Settings map[string]string
	// Listeners are more ways in to every node, beside the plain one: the
	// protocol (SSL, SASL_SSL, SASL_PLAINTEXT) by a name in capitals. What each
	// asks of clients is up to Settings, as listener.name.NAME.…
	Listeners map[string]string
}

// Cluster is a running Kafka. Nodes are numbered from 1. One goroutine at a
// time may start and end nodes.
type Cluster struct {
	kafka *Kafka
	opts  Options
	nodes []*node
}

// node is one Kafka process, or one that has been ended and may come back.
type node struct {
	id                 int
	dir                string
	broker, controller string            // addresses
	listeners          map[string]string // addresses of Options.Listeners
	process            *process.Process
}

// Start starts a cluster with its data and logs below dir, and returns once
// all nodes are known to it. Close ends it; it also ends with this process.
func (k *Kafka) Start(ctx context.Context, dir string, o Options) (*Cluster, error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.HeapMiB == 0 {
		o.HeapMiB = 384
	}
	c := &Cluster{kafka: k, opts: o}
	each := 2 + len(o.Listeners)
	ports, err := process.Ports(each * o.Nodes)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	for i := range o.Nodes {
		n := &node{id: i + 1, dir: filepath.Join(dir, "node-"+strconv.Itoa(i+1)), listeners: make(map[string]string)}
		own := ports[each*i:]
		n.broker, n.controller, own = loopback(own[0]), loopback(own[1]), own[2:]
		for j, name := range slices.Sorted(maps.Keys(o.Listeners)) {
			n.listeners[name] = loopback(own[j])
		}
		c.nodes = append(c.nodes, n)
	}
	if err := c.format(ctx); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if err := c.launch(n); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.Ready(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// Brokers returns the addresses of all nodes, ended ones among them.
func (c *Cluster) Brokers() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.broker)
	}
	return out
}

// Listener returns the first node's address of one of Options.Listeners.
func (c *Cluster) Listener(name string) string { return c.nodes[0].listeners[name] }

// PID returns a node's process id.
func (c *Cluster) PID(id int) int { return c.nodes[id-1].process.PID() }

// Kill ends a node at once, as a loss of power to its machine would.
func (c *Cluster) Kill(id int) error { return c.nodes[id-1].process.Kill() }

// Stop ends a node in good order: it hands over what it leads first.
func (c *Cluster) Stop(id int) error {
	err := c.nodes[id-1].process.Stop()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil // a JVM that a signal ends says so in its exit code
	}
	return err
}

// Restart starts a node again that was ended, and waits until all nodes are there.
func (c *Cluster) Restart(ctx context.Context, id int) error {
	if err := c.launch(c.nodes[id-1]); err != nil {
		return err
	}
	return c.Ready(ctx)
}

// Close ends all nodes at once. Their data stays where it is.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.nodes {
		if n.process != nil {
			errs = append(errs, n.process.Kill())
		}
	}
	return errors.Join(errs...)
}

// format writes each node's settings and makes its empty log folder, as Kafka demands before the first start.
func (c *Cluster) format(ctx context.Context) error {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("kafka: an id for the cluster: %w", err)
	}
	id[0] &= 0x7f // so that the id begins with a letter: with a dash, one of 64, Kafka's tool takes it for an option
	cluster := base64.RawURLEncoding.EncodeToString(id[:])
	var wait sync.WaitGroup
	errs := make([]error, len(c.nodes))
	for i, n := range c.nodes {
		wait.Go(func() { errs[i] = c.formatNode(ctx, n, cluster) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) formatNode(ctx context.Context, n *node, cluster string) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return fmt.Errorf("kafka: the folder of node %d: %w", n.id, err)
	}
	file := filepath.Join(n.dir, "server.properties")
	if err := os.WriteFile(file, c.properties(n), 0o600); err != nil {
		return fmt.Errorf("kafka: the settings of node %d: %w", n.id, err)
	}
	cmd := exec.CommandContext(ctx, c.kafka.java, c.javaArgs("kafka.tools.StorageTool", "format", "-t", cluster, "-c", file)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kafka: formatting node %d: %w; it says:\n%s", n.id, err, out)
	}
	return nil
}

func (c *Cluster) javaArgs(main string, args ...string) []string {
	return append([]string{
		"-Xmx" + strconv.Itoa(c.opts.HeapMiB) + "m",
		// A test's broker lives for minutes on a core or two: these start it sooner.
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", c.kafka.classpath, main,
	}, args...)
}

// launch starts a node's process, which appends its log to kafka.log in its folder.
func (c *Cluster) launch(n *node) error {
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("kafka: the log of node %d: %w", n.id, err)
	}
	defer log.Close() // the child has its own descriptor
	cmd := exec.Command(c.kafka.java, c.javaArgs("kafka.Kafka", filepath.Join(n.dir, "server.properties"))...)
	cmd.Stdout, cmd.Stderr = log, log
	if n.process, err = process.Start(cmd); err != nil {
		return fmt.Errorf("kafka: node %d: %w", n.id, err)
	}
	return nil
}

func (n *node) log() string { return filepath.Join(n.dir, "kafka.log") }

// Ready waits until every node that runs is a broker of the cluster and groups
// can commit, or returns why that will not be: a node that ended, or the end of ctx.
func (c *Cluster) Ready(ctx context.Context) error {
	running := 0
	for _, n := range c.nodes {
		if n.running() {
			running++
		}
	}
	if running == 0 {
		return errors.New("kafka: no node runs")
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		known := 0
		if res, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client); err == nil {
			known = len(res.Brokers)
		}
		if known >= running && groups(ctx, client) {
			return nil
		}
		for _, n := range c.nodes {
			if n.process != nil && !n.running() && running == len(c.nodes) {
				return n.ended()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("kafka: %d of %d nodes are there; their logs are in %s: %w",
				known, running, filepath.Dir(c.nodes[0].dir), ctx.Err())
		}
	}
}

// groups tells whether the topic of offsets can be used; the first question makes it.
func groups(ctx context.Context, client *kgo.Client) bool {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = "is-anyone-there"
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = append(req.Groups, g)
	res, err := req.RequestWith(ctx, client)
	return err == nil && len(res.Groups) == 1 && res.Groups[0].ErrorCode == 0
}

func (n *node) running() bool {
	if n.process == nil {
		return false
	}
	select {
	case <-n.process.Done():
		return false
	default:
		return true
	}
}

// ended says how a node ended, with the last lines of its log.
func (n *node) ended() error {
	text, err := os.ReadFile(n.log())
	if err != nil {
		text = []byte(err.Error())
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	last := bytes.Join(lines[max(0, len(lines)-10):], []byte("\n"))
	return fmt.Errorf("kafka: node %d ended: %w; the end of its log:\n%s", n.id, n.process.Wait(), last)
}
