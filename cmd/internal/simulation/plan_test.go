package simulation

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"sluice/pipeline"
)

// The streams of random numbers that a seed has.
const (
	streamPlan = iota + 1
	streamLog
	streamSteps
	streamFetch
	streamConfig
	streamDisk
)

// mode is how keys, partitions and members relate.
type mode string

const (
	modeKeyed  mode = "keyed"  // every key is in one partition
	modeMerged mode = "merged" // keys are anywhere, and lines are merged by their clocks
	modeSpread mode = "spread" // keys are anywhere, and lines come as they come
	modeGroup  mode = "group"  // every key is in one partition, and a group assigns those
)

// plan is what a seed chooses before anything happens.
type plan struct {
	seed       uint64
	mode       mode
	members    int
	partitions int
	records    int // of a partition
	steps      int
	fetch      int    // records at once, at most
	late       bool   // names are asked for, and take their time
	reload     bool   // rules change on the way
	racy       bool   // steps do not wait until the world is at rest
	real       bool   // the store is the real one
	oracle     bool   // nothing happens
	missing    string // what a member of a group does without state
}

// isGroup tells whether a group assigns partitions.
func (p plan) isGroup() bool { return p.mode == modeGroup && !p.oracle }

func newPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, streamPlan))
	p := plan{
		seed: seed, mode: []mode{modeKeyed, modeKeyed, modeMerged, modeSpread, modeGroup, modeGroup}[rng.IntN(6)],
		members: 1, partitions: 1 + rng.IntN(4), records: 20 + rng.IntN(120), steps: 20 + rng.IntN(40), fetch: 1 + rng.IntN(30),
		late: rng.IntN(3) == 0, racy: rng.IntN(4) == 0, real: rng.IntN(20) == 0,
	}
	if p.mode == modeKeyed {
		p.members = 1 + rng.IntN(min(2, p.partitions))
		p.reload = rng.IntN(3) == 0
	}
	p.missing = "wait"
	if p.mode == modeGroup {
		p.members = 2 + rng.IntN(2)
		p.missing = []string{"wait", "wait", "fresh", "rebuild"}[rng.IntN(4)]
		p.steps *= 2
	}
	return p
}

func (p plan) String() string {
	var words []string
	for i, on := range []bool{p.late, p.reload, p.racy, p.real} {
		if on {
			words = append(words, []string{"late", "reload", "racy", "real store"}[i])
		}
	}
	if p.mode == modeGroup {
		words = append(words, p.missing)
	}
	return fmt.Sprintf("%s, %d members, %d partitions of %d records, %d steps %v", p.mode, p.members, p.partitions, p.records, p.steps, words)
}

// roots are the folders of rules of a phase: 0 before the rules change, 1 after.
func (p plan) roots(phase int) []string {
	names := []string{"base", "keyed", "extra"}
	switch {
	case p.mode == modeMerged:
		names = append(names, "shared", "counted")
	case p.mode == modeSpread:
		names = []string{"base", "counted"}
	case phase == 1:
		names = []string{"base", "keyed", "changed"}
	}
	var roots []string
	for _, name := range names {
		root, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			panic(err)
		}
		roots = append(roots, root)
	}
	return roots
}

func partition(id int) pipeline.Partition {
	return pipeline.Partition{Source: sourceName, Topic: "gate", ID: int32(id)}
}

// boundary is the offset at which the rules change.
func (p plan) boundary(id int) int64 { return int64(p.records * (id + 1) / (p.partitions + 1)) }

var logBegin = time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)

var verbs = []string{"deny", "deny", "deny", "knock", "knock", "fail", "fail", "login", "open", "err"}

// makeLog makes the records. Every partition ends with one of much later time.
func (p plan) makeLog() map[pipeline.Partition][]pipeline.Record {
	log := make(map[pipeline.Partition][]pipeline.Record)
	for id := range p.partitions {
		rng := rand.New(rand.NewPCG(p.seed, streamLog<<8+uint64(id)))
		at := logBegin
		pause := 1 + rng.IntN(4000) // ms between lines, at most
		for offset := range p.records {
			at = at.Add(time.Duration(rng.IntN(pause)) * time.Millisecond)
			log[partition(id)] = append(log[partition(id)], pipeline.Record{
				Offset: int64(offset), Time: at, Value: []byte(p.line(rng, id, at)),
			})
		}
		at = logBegin.Add(24*time.Hour + time.Duration(id)*time.Second)
		log[partition(id)] = append(log[partition(id)], pipeline.Record{
			Offset: int64(p.records), Time: at, Value: fmt.Appendf(nil, "%s login 10.0.9.%d last", at.Format(time.RFC3339Nano), id),
		})
	}
	return log
}

func (p plan) line(rng *rand.Rand, id int, at time.Time) string {
	if rng.IntN(30) == 0 {
		return "this is no line of a gate: " + strings.Repeat("?", rng.IntN(9))
	}
	if rng.IntN(10) == 0 { // events come late, some beyond the lateness
		at = at.Add(-time.Duration(rng.IntN(8000)) * time.Millisecond)
	}
	net := id
	if p.mode != modeKeyed && p.mode != modeGroup {
		net = 8
	}
	verb, address := verbs[rng.IntN(len(verbs))], fmt.Sprintf("10.%d.0.%d", net, 1+rng.IntN(5))
	if verb == "err" {
		address = "-"
	}
	return fmt.Sprintf("%s %s %s u%d", at.Format(time.RFC3339Nano), verb, address, rng.IntN(6))
}

// config is the configuration of one life of a member.
func (p plan) config(rng *rand.Rand, phase int, stateDir string) string {
	order := "arrival"
	if p.mode == modeMerged {
		order = "merged"
	}
	workers, shards, batch := 1+rng.IntN(3), 1+rng.IntN(4), 1+rng.IntN(20)
	interval := []string{"1s", "300ms", "5s"}[rng.IntN(3)]
	least := []string{"100ms", "300ms", "1ms"}[rng.IntN(3)]
	quota := []string{"1GiB", "4KiB", "40KiB"}[rng.IntN(3)]
	if p.oracle {
		workers, shards, batch, interval, least, quota = 1, 1, 64, "1000h", "1000h", "1GiB"
	}
	return fmt.Sprintf(`
rules: {roots: ["%s"], strict: true}
pipeline: {workers: %d, shards: %d, batch_records: %d, order: %s, reverse_dns: %v, lateness: 5s, idle_after: 10000h}
state: {dir: %q, interval: %s, min_interval: %s, missing: %s}
outbox: {batch_alerts: %d, quota: %s}
sources: [{type: simulated, name: sim, decode: {type: gate}}]
sinks: [{type: simulated, name: fast}, {type: simulated, name: slow}]
dead_letters: {unparsed: true, simulated: {}}
`, strings.Join(p.roots(phase), `", "`), workers, shards, batch, order, p.late, stateDir, interval, least, p.missing, 1+rng.IntN(20), quota)
}
