package kinesis

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"google.golang.org/protobuf/encoding/protowire"

	"sluice/pipeline"
	"sluice/sources/sourcetest"
)

// aggregate writes an aggregated record, as the Kinesis Producer Library does;
// keys of "key/hash" have an explicit hash key.
func aggregate(records ...[2]string) []byte {
	var message, body []byte
	for i, r := range records {
		key, hash, explicit := strings.Cut(r[0], "/")
		message = protowire.AppendTag(message, fieldPartitionKeys, protowire.BytesType)
		message = protowire.AppendString(message, key)
		message = protowire.AppendTag(message, fieldExplicitHashKeys, protowire.BytesType)
		message = protowire.AppendString(message, hash)
		var rec []byte
		rec = protowire.AppendTag(rec, fieldPartitionKey, protowire.VarintType)
		rec = protowire.AppendVarint(rec, uint64(i))
		if explicit {
			rec = protowire.AppendTag(rec, fieldExplicitHashKey, protowire.VarintType)
			rec = protowire.AppendVarint(rec, uint64(i))
		}
		rec = protowire.AppendTag(rec, fieldData, protowire.BytesType)
		rec = protowire.AppendString(rec, r[1])
		rec = protowire.AppendTag(rec, 4, protowire.BytesType) // a tag, which says nothing here
		rec = protowire.AppendString(rec, "\x0a\x01t")
		body = protowire.AppendTag(body, fieldRecords, protowire.BytesType)
		body = protowire.AppendBytes(body, rec)
	}
	return seal(append(message, body...))
}

func seal(message []byte) []byte {
	sum := md5.Sum(message)
	return append(append([]byte(aggregateMagic), message...), sum[:]...)
}

func TestAggregatedRecordsAreTakenApart(t *testing.T) {
	got, ok := deaggregate(aggregate([2]string{"k1", "a"}, [2]string{"k2/7", "b"}, [2]string{"k3", ""}), nil)
	var text []string
	for _, r := range got {
		text = append(text, fmt.Sprintf("%s %s=%s", r.key, r.hash, r.data))
	}
	if want := "k1 =a k2 7=b k3 ="; !ok || strings.Join(text, " ") != want {
		t.Errorf("%q, %v, want %q", strings.Join(text, " "), ok, want)
	}
	if got, ok := deaggregate(seal(nil), nil); !ok || len(got) != 0 {
		t.Errorf("an aggregate of nothing: %v, %v", got, ok)
	}
	whole := aggregate([2]string{"k", "a"})
	for name, value := range map[string][]byte{
		"a record of its own":         []byte("GET /"),
		"the magic number alone":      []byte(aggregateMagic),
		"a wrong sum":                 append(whole[:len(whole)-1:len(whole)-1], whole[len(whole)-1]+1),
		"a broken message":            seal([]byte{0x0a, 0x7f}),
		"a key that there is not":     seal([]byte{0x1a, 0x05, 0x08, 0x09, 0x1a, 0x01, 'a'}),
		"a hash that there is not":    seal([]byte{0x0a, 0x01, 'k', 0x1a, 0x07, 0x08, 0x00, 0x10, 0x09, 0x1a, 0x01, 'a'}),
		"a record without data":       seal([]byte{0x0a, 0x01, 'k', 0x1a, 0x02, 0x08, 0x00}),
		"a record without a key":      seal([]byte{0x1a, 0x03, 0x1a, 0x01, 'a'}),
		"the record is not a message": seal([]byte{0x1a, 0x01, 0xff}),
	} {
		if got, ok := deaggregate(value, nil); ok || len(got) != 0 {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}

func TestRecordsBelongToARangeByTheirHash(t *testing.T) {
	half, _ := new(big.Int).SetString(quarter(2), 10)
	lower := hashRange{new(big.Int), new(big.Int).Sub(half, big.NewInt(1))}
	for _, tc := range []struct {
		r    userRecord
		want bool
	}{
		{userRecord{key: []byte("a")}, true},  // 0cc1…
		{userRecord{key: []byte("b")}, false}, // 92eb…
		{userRecord{key: []byte("b"), hash: []byte("0")}, true},
		{userRecord{key: []byte("a"), hash: []byte(quarter(2))}, false},
		{userRecord{key: []byte("a"), hash: []byte(quarterEnd(2))}, true},
		{userRecord{key: []byte("b"), hash: []byte("none")}, true},
	} {
		if lower.has(tc.r) != tc.want {
			t.Errorf("%s %s: %v", tc.r.key, tc.r.hash, !tc.want)
		}
	}
}

func TestRecordsOfAnotherShardAreDroppedWhereThatIsWanted(t *testing.T) {
	for check, want := range map[bool]string{false: "logs/0:mine,foreign,plain", true: "logs/0:mine,plain"} {
		f := newFakeStream(2)
		f.put(0, string(aggregate([2]string{"a", "mine"}, [2]string{"b", "foreign"})), "plain")
		r := start(t, f, t.TempDir(), nil, func(c *Config) { c.CheckHashRange = check })
		r.Expect(want)
		if n := r.source.Stats().Drops["key of another shard"]; (n == 1) != check {
			t.Errorf("%d drops", n)
		}
		r.Stop()
	}
}

func pack(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

// subscribed writes an envelope as CloudWatch Logs sends it.
func subscribed(group, stream string, messages ...string) []byte {
	var events []string
	for i, m := range messages {
		events = append(events, fmt.Sprintf(`{"id":"id-%d","timestamp":1714564800000,"message":%q}`, i, m))
	}
	return pack(fmt.Sprintf(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":%q,"logStream":%q,"subscriptionFilters":["all"],"logEvents":[%s]}`,
		group, stream, strings.Join(events, ",")))
}

func TestSubscriptionsAreUnwrapped(t *testing.T) {
	f := newFakeStream(1)
	f.put(0,
		string(pack(`{"messageType":"CONTROL_MESSAGE","logEvents":[{"message":"CWL CONTROL MESSAGE: Checking health of destination"}]}`)),
		string(subscribed("g", "s1", "a", "b")), "plain", string(aggregate([2]string{"k", string(subscribed("g", "s2", "c"))}, [2]string{"k", string(subscribed("h", "s3", "d", "e"))})))
	dir := t.TempDir()
	r := start(t, f, dir, nil, func(c *Config) {
		c.Unwrap, c.Labels = unwrapCloudWatch, map[string]string{"type": "x"}
	})
	r.Expect("logs/0:a,b,plain,c,d,e")
	want := sourcetest.Record{
		Labels: map[string]string{"type": "x"}, Time: time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC),
		Headers: []pipeline.Header{{Key: "log_group", Value: []byte("h")}, {Key: "log_stream", Value: []byte("s3")}},
	}
	if last := r.Last("logs/0"); !reflect.DeepEqual(last, want) {
		t.Errorf("the last record is %+v, want %+v", last, want)
	}
	next := r.Stop()
	f.put(0, string(subscribed("g", "s1", "f")))
	r = start(t, f, dir, next, func(c *Config) { c.Unwrap = unwrapCloudWatch })
	r.Expect("logs/0:f")
}

func TestARecordThatIsTakenInPartGoesOnThere(t *testing.T) {
	f := newFakeStream(1)
	f.put(0, string(aggregate([2]string{"k", "a"}, [2]string{"k", "b"}, [2]string{"k", "c"})), "d")
	dir := t.TempDir()
	first := start(t, f, dir, nil, nil)
	s := newSupervisor(first.source, f, first.source.config.Share)
	first.Stop()
	sh, err := newShardOf(t, f)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(s, sh, mark{place: placeWithin, sequence: "1", part: 2}, time.Hour)
	out, err := r.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tk := taker{reader: r}
	for i := range out.Records {
		if err := tk.record(t.Context(), &out.Records[i]); err != nil {
			t.Fatal(err)
		}
	}
	if got := values(tk.records); got != "c,d" {
		t.Errorf("took %q", got)
	}
}

func newShardOf(t *testing.T, f *fakeStream) (shard, error) {
	out, err := f.ListShards(t.Context(), &kinesis.ListShardsInput{})
	if err != nil {
		return shard{}, err
	}
	return newShard(&out.Shards[0])
}

func values(records []pipeline.Record) string {
	var out []string
	for i := range records {
		out = append(out, string(records[i].Value))
	}
	return strings.Join(out, ",")
}

func TestWhatIsNoEnvelope(t *testing.T) {
	for name, tc := range map[string]struct {
		value []byte
		want  string
	}{
		"text":             {[]byte("GET /"), "not packed"},
		"half of one":      {subscribed("g", "s", "a")[:40], "unpacking"},
		"other JSON":       {pack(`{"a":1}`), "no messageType"},
		"no JSON":          {pack(`GET /`), "no JSON"},
		"a bomb":           {pack(strings.Repeat(" ", mostUnpacked+1)), "more than 64 MiB"},
		"nothing, packed":  {pack(""), "no JSON"},
		"nothing, at all ": {nil, "not packed"},
	} {
		if e, err := openEnvelope(tc.value); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func FuzzDeaggregate(f *testing.F) {
	f.Add(aggregate([2]string{"k1", "a"}, [2]string{"k2/7", "b"}), false)
	f.Add([]byte{0x0a, 0x01, 'k', 0x1a, 0x05, 0x08, 0x00, 0x1a, 0x01, 'a'}, true)
	f.Add([]byte(aggregateMagic), false)
	f.Fuzz(func(t *testing.T, value []byte, sealed bool) {
		if sealed { // past the sum, which a fuzzer does not guess
			value = seal(value)
		}
		before := []userRecord{{data: []byte("before")}}
		got, ok := deaggregate(value, before)
		if len(got) < 1 || string(got[0].data) != "before" || !ok && len(got) != 1 {
			t.Fatalf("%v, %v", got, ok)
		}
		size := 0
		for _, r := range got[1:] {
			size += len(r.data)
		}
		if size > len(value) {
			t.Fatalf("%d bytes came out of %d", size, len(value))
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add(subscribed("g", "s", "a"), false)
	f.Add([]byte(`{"messageType":"DATA_MESSAGE","logEvents":[{"timestamp":-1}]}`), true)
	f.Fuzz(func(t *testing.T, value []byte, packed bool) {
		if packed {
			value = pack(string(value))
		}
		e, err := openEnvelope(value)
		if (e == nil) == (err == nil) {
			t.Fatalf("%v, %v", e, err)
		}
		if e == nil {
			return
		}
		for i := range e.LogEvents {
			if e.LogEvents[i].time(time.Unix(1, 0)).IsZero() {
				t.Fatal("an event without a time")
			}
		}
	})
}
