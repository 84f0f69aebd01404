package kafka

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"

	"sluice/sources"
)

// groupMember announces that its state stands at offsets, written topic/partition.
func groupMember(id string, topics []string, offsets map[string]int64) kafka.GroupMember {
	h := held{name: "state-" + id, topics: make(map[string]map[int32]int64)}
	for part, offset := range offsets {
		topic, number, _ := strings.Cut(part, "/")
		var n int32
		fmt.Sscan(number, &n)
		if h.topics[topic] == nil {
			h.topics[topic] = make(map[int32]int64)
		}
		h.topics[topic][n] = offset
	}
	return kafka.GroupMember{ID: id, Topics: topics, UserData: h.encode()}
}

func partitionsOf(counts map[string]int) (out []kafka.Partition) {
	for topic, n := range counts {
		for id := range n {
			out = append(out, kafka.Partition{Topic: topic, ID: id})
		}
	}
	return out
}

// describe writes an assignment as "a: logs[0 2] more[0]; b: …".
func describe(a kafka.GroupMemberAssignments) string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(a)) {
		text := id + ":"
		for _, topic := range slices.Sorted(maps.Keys(a[id])) {
			text += fmt.Sprintf(" %s%v", topic, a[id][topic])
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func TestWhoReadsWhat(t *testing.T) {
	logs := []string{"logs"}
	both := []string{"logs", "more"}
	type offsets = map[string]int64
	for _, c := range []struct {
		name     string
		members  []kafka.GroupMember
		counts   map[string]int
		standing map[string]standing
		want     string
	}{
		{"nobody holds anything: evenly", []kafka.GroupMember{groupMember("a", logs, nil), groupMember("b", logs, nil)},
			map[string]int{"logs": 5}, nil, "a: logs[0 2 4]; b: logs[1 3]"},
		{"who holds it keeps it, and a newcomer gets what nobody holds",
			[]kafka.GroupMember{groupMember("a", logs, offsets{"logs/0": 5, "logs/1": 5, "logs/2": 5}), groupMember("b", logs, nil)},
			map[string]int{"logs": 4}, nil, "a: logs[0 1 2]; b: logs[3]"},
		{"the highest offset holds", []kafka.GroupMember{groupMember("a", logs, offsets{"logs/0": 5}), groupMember("b", logs, offsets{"logs/0": 6})},
			map[string]int{"logs": 1}, nil, "a:; b: logs[0]"},
		{"unless the group refused it", []kafka.GroupMember{groupMember("a", logs, offsets{"logs/0": 5}), groupMember("b", logs, offsets{"logs/0": 6})},
			map[string]int{"logs": 1}, map[string]standing{"logs/0": {committed: 5, tenures: []sources.Tenure{{Began: 3, Member: "state-a"}, {Began: 2, Member: "state-b"}}}},
			"a: logs[0]; b:"},
		{"or nothing was read into it", []kafka.GroupMember{groupMember("a", logs, offsets{"logs/0": 5, "logs/1": 5}), groupMember("b", logs, nil)},
			map[string]int{"logs": 2}, map[string]standing{
				"logs/0": {committed: 5, tenures: []sources.Tenure{{Began: 5, Member: "state-a"}}},
				"logs/1": {committed: 5, tenures: []sources.Tenure{{Began: 4, Member: "state-a"}}}},
			"a: logs[1]; b: logs[0]"},
		{"equal numbers of several topics go together", []kafka.GroupMember{groupMember("a", both, nil), groupMember("b", both, nil)},
			map[string]int{"logs": 3, "more": 2}, nil, "a: logs[0 2] more[0]; b: logs[1] more[1]"},
		{"to whoever is ahead in most topics", []kafka.GroupMember{
			groupMember("a", []string{"logs", "more", "rest"}, offsets{"logs/0": 9}),
			groupMember("b", []string{"logs", "more", "rest"}, offsets{"logs/0": 8, "more/0": 1, "rest/0": 1})},
			map[string]int{"logs": 1, "more": 1, "rest": 1}, nil, "a:; b: logs[0] more[0] rest[0]"},
		{"topics go to those who read them", []kafka.GroupMember{groupMember("a", logs, nil), groupMember("b", both, nil)},
			map[string]int{"logs": 2, "more": 2, "none": 1}, nil, "a: logs[0 1]; b: more[0 1]"},
		{"a member that says nothing readable holds nothing", []kafka.GroupMember{{ID: "a", Topics: logs, UserData: []byte{9}}, groupMember("b", logs, offsets{"logs/0": 1})},
			map[string]int{"logs": 2}, nil, "a: logs[1]; b: logs[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &balancer{log: slog.New(slog.DiscardHandler)}
			if c.standing != nil {
				b.standing = func(topic string, id int) standing { return c.standing[fmt.Sprintf("%s/%d", topic, id)] }
			}
			if got := describe(b.AssignGroups(c.members, partitionsOf(c.counts))); got != c.want {
				t.Errorf("assigned %s\nwant     %s", got, c.want)
			}
		})
	}
}

// TestAssignmentsHoldTheirRules draws groups at random: every partition is
// assigned once, to a member that reads its topic; whoever alone holds a
// number keeps it; what nobody holds is spread evenly; and no order of members
// or partitions changes anything.
func TestAssignmentsHoldTheirRules(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		topics := []string{"a", "b", "c"}[:1+rng.IntN(3)]
		count := 1 + rng.IntN(20) // of every topic, so that all units are of one size
		counts := make(map[string]int)
		for _, topic := range topics {
			counts[topic] = count
		}
		holders := make(map[int]string) // by number of the partitions
		announced := make(map[string]map[string]int64)
		n := 1 + rng.IntN(6)
		for id := range count {
			if rng.IntN(2) == 0 {
				who := fmt.Sprint("m", rng.IntN(n))
				holders[id] = who
				if announced[who] == nil {
					announced[who] = make(map[string]int64)
				}
				announced[who][fmt.Sprintf("%s/%d", topics[rng.IntN(len(topics))], id)] = rng.Int64N(1000)
			}
		}
		var members []kafka.GroupMember
		for i := range n {
			id := fmt.Sprint("m", i)
			members = append(members, groupMember(id, topics, announced[id]))
		}
		partitions := partitionsOf(counts)
		b := &balancer{log: slog.New(slog.DiscardHandler)}
		got := b.AssignGroups(members, partitions)

		owner := make(map[string]string)
		for id, byTopic := range got {
			for topic, ids := range byTopic {
				for _, p := range ids {
					key := fmt.Sprintf("%s/%d", topic, p)
					if before, twice := owner[key]; twice {
						t.Fatalf("seed %d: %s goes to %s and %s", seed, key, before, id)
					}
					owner[key] = id
					if first := owner[fmt.Sprintf("%s/%d", topics[0], p)]; first != "" && first != id {
						t.Fatalf("seed %d: partitions of number %d go to %s and %s", seed, p, first, id)
					}
					if want := holders[p]; want != "" && want != id {
						t.Fatalf("seed %d: %s goes to %s, %s holds it", seed, key, id, want)
					}
				}
			}
		}
		if len(owner) != len(partitions) {
			t.Fatalf("seed %d: %d of %d partitions are assigned", seed, len(owner), len(partitions))
		}
		// Whoever got something that it does not hold has at most one number more than anybody.
		load, fresh := make(map[string]int), make(map[string]bool)
		for id := range count {
			who := owner[fmt.Sprintf("%s/%d", topics[0], id)]
			load[who]++
			fresh[who] = fresh[who] || holders[id] == ""
		}
		for who := range fresh {
			for i := range n {
				if other := fmt.Sprint("m", i); fresh[who] && load[who] > load[other]+1 {
					t.Fatalf("seed %d: %s has %d numbers and got more, %s has %d", seed, who, load[who], other, load[other])
				}
			}
		}
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		rng.Shuffle(len(partitions), func(i, j int) { partitions[i], partitions[j] = partitions[j], partitions[i] })
		if again := b.AssignGroups(members, partitions); !reflect.DeepEqual(got, again) {
			t.Fatalf("seed %d: another order gives\n%s, not\n%s", seed, describe(again), describe(got))
		}
	}
}

func TestTopicsOfDifferentSizesAreNamed(t *testing.T) {
	if got := uneven(partitionsOf(map[string]int{"logs": 3, "more": 2})); got != "logs 3, more 2" {
		t.Errorf("named %q", got)
	}
	if got := uneven(partitionsOf(map[string]int{"logs": 3, "more": 3})); got != "" {
		t.Errorf("named %q", got)
	}
}

func TestWhatAMemberAnnounces(t *testing.T) {
	h := held{name: "state-1", topics: map[string]map[int32]int64{"logs": {0: 0, 7: 1 << 40, 2147483647: 3}, "more": {5: 9}}}
	data := h.encode()
	got, err := decodeHeld(data)
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("decoded %+v, %v", got, err)
	}
	if len(data) > 48 {
		t.Errorf("%d bytes for 4 partitions", len(data))
	}
	if _, err := decodeHeld([]byte{2}); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a newer version: %v", err)
	}
	for end := range data {
		if _, err := decodeHeld(data[:end]); err == nil {
			t.Errorf("cut to %d bytes it is decoded", end)
		}
	}
}

func FuzzDecodeHeld(f *testing.F) {
	f.Add(held{name: "a", topics: map[string]map[int32]int64{"logs": {0: 1, 3: 4}}}.encode())
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHeld(data)
		if err == nil && !bytes.Equal(h.encode(), data) {
			t.Errorf("%x is read as %+v, which is written %x", data, h, h.encode())
		}
	})
}

func TestTenuresInMetadata(t *testing.T) {
	st := standing{committed: -1}
	for i := range 10 {
		st.tenures = st.begun(fmt.Sprint("m", i), int64(100*i))
		st.tenures = st.begun(fmt.Sprint("m", i), int64(100*i+50)) // goes on: no tenure of its own
	}
	text := tenuresText(st.tenures)
	if want := "sluice1 900:m9 800:m8 700:m7 600:m6 500:m5 400:m4 300:m3 200:m2"; text != want {
		t.Errorf("written %q, want %q", text, want)
	}
	got, err := parseTenures(text)
	if err != nil || !slices.Equal(got, st.tenures) {
		t.Errorf("read %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"": "", "another program's": "", "sluice2 1:a": "does not know", "sluice1": "damaged", "sluice1 1": "damaged",
		"sluice1 x:a": "damaged", "sluice1 -2:a": "damaged", "sluice1 1:a b": "damaged", "sluice1 1:": "damaged",
		"sluice1 9:a 8:a 7:a 6:a 5:a 4:a 3:a 2:a 1:a": "damaged",
	} {
		got, err := parseTenures(text)
		if len(got) > 0 || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzParseTenures(f *testing.F) {
	f.Add("sluice1 300:b 100:a")
	f.Add("sluice1 -1:a")
	f.Fuzz(func(t *testing.T, text string) {
		tenures, err := parseTenures(text)
		if err != nil || len(tenures) == 0 {
			return
		}
		again, err := parseTenures(tenuresText(tenures))
		if err != nil || !slices.Equal(again, tenures) {
			t.Errorf("%q is read as %v, then as %v, %v", text, tenures, again, err)
		}
	})
}
