package recordbatch

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// describe reads a whole answer as a reader of committed records does, and
// says what it gives: "offset:value" for records, and where to go on.
func describe(data []byte, aborted []AbortedTransaction) (records []string, next int64, err error) {
	var skip Aborted
	skip.Reset(aborted)
	d := NewDecompressor(1 << 20)
	defer d.Close()
	next = -1
	for {
		b, rest, ok, err := Split(data)
		if err != nil || !ok {
			return records, next, err
		}
		data, next = rest, b.LastOffset+1
		if err := b.Check(); err != nil {
			return records, next, err
		}
		var payload []byte
		if b.Count > 0 {
			if payload, err = d.Decompress(nil, b.Attributes.Codec(), b.Payload); err != nil {
				return records, next, err
			}
		}
		if skip.Skips(&b, payload) {
			continue
		}
		walk := b.Records(payload)
		var r Record
		for walk.Next(&r) {
			records = append(records, fmt.Sprintf("%d:%s", r.Offset, r.Value))
		}
		if walk.Err() != nil {
			return records, next, walk.Err()
		}
	}
}

func TestWhatAnAnswerHolds(t *testing.T) {
	const transactional = Attributes(1 << 4)
	join := func(specs ...spec) (out []byte) {
		for _, s := range specs {
			out = append(out, s.build(t)...)
		}
		return out
	}
	plain := spec{base: 10, entries: []entry{text(0, "a"), text(1, "b")}}
	for _, tc := range []struct {
		name    string
		data    []byte
		aborted []AbortedTransaction
		want    string
		next    int64
	}{
		{"nothing", nil, nil, "", -1},
		{"two batches", join(plain, spec{base: 12, entries: []entry{text(0, "c")}}), nil, "10:a 11:b 12:c", 13},
		{"a batch and the beginning of one", append(join(plain), join(plain)[:40]...), nil, "10:a 11:b", 12},
		{"a batch and less than a length", append(join(plain), 0, 0, 0), nil, "10:a 11:b", 12},
		{"what compaction left", join(spec{base: 10, lastDelta: 9, entries: []entry{text(2, "a"), text(7, "b")}}), nil, "12:a 17:b", 20},
		{"a batch that compaction emptied", join(spec{base: 10, lastDelta: 9, attributes: Attributes(Zstd)}), nil, "", 20},
		{"a transaction that was committed", join(
			spec{base: 0, producer: 5, attributes: transactional, entries: []entry{text(0, "a"), text(1, "b")}}, marker(2, 5, true),
		), nil, "0:a 1:b", 3},
		{"a transaction that was aborted, between others", join(
			spec{base: 0, producer: 5, attributes: transactional, entries: []entry{text(0, "bad")}},
			spec{base: 1, producer: 6, attributes: transactional, entries: []entry{text(0, "good")}},
			spec{base: 2, producer: 5, entries: []entry{text(0, "outside")}},
			spec{base: 3, producer: 5, attributes: transactional, entries: []entry{text(0, "bad")}},
			marker(4, 5, false), marker(5, 6, true),
			spec{base: 6, producer: 5, attributes: transactional, entries: []entry{text(0, "again")}}, marker(7, 5, true),
		), []AbortedTransaction{{5, 0}}, "1:good 2:outside 6:again", 8},
		{"two that were aborted by one producer, listed in any order", join(
			spec{base: 0, producer: 5, attributes: transactional, entries: []entry{text(0, "bad")}}, marker(1, 5, false),
			spec{base: 2, producer: 5, attributes: transactional, entries: []entry{text(0, "good")}}, marker(3, 5, true),
			spec{base: 4, producer: 5, attributes: transactional, entries: []entry{text(0, "bad")}}, marker(5, 5, false),
		), []AbortedTransaction{{5, 4}, {5, 0}}, "2:good", 6},
		{"the rest of one that began in an answer before", join(
			spec{base: 9, producer: 5, attributes: transactional, entries: []entry{text(0, "bad")}}, marker(10, 5, false),
		), []AbortedTransaction{{5, 3}}, "", 11},
		{"one whose marker is in the next answer", join(
			spec{base: 9, producer: 5, attributes: transactional, entries: []entry{text(0, "bad")}},
		), []AbortedTransaction{{5, 9}}, "", 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, next, err := describe(tc.data, tc.aborted)
			if err != nil || strings.Join(got, " ") != tc.want || next != tc.next {
				t.Errorf("records %q, next %d, %v\nwant %q, %d", got, next, err, tc.want, tc.next)
			}
		})
	}
}

func TestEveryFieldOfARecord(t *testing.T) {
	s := spec{base: 100, baseTime: 5000, maxTime: 9000, entries: []entry{
		{delta: 0, time: -3, key: []byte{}, value: nil},
		{delta: 300, time: 4000, key: []byte("k"), value: []byte("v"), headers: [][2][]byte{{[]byte("h"), []byte("1")}, {[]byte("h"), nil}, {[]byte(""), []byte("")}}},
	}}
	b, _, ok, err := Split(s.build(t))
	if err != nil || !ok || b.BaseOffset != 100 || b.LastOffset != 400 || b.Count != 2 || b.ProducerID != 0 {
		t.Fatalf("batch %+v, %v", b, err)
	}
	walk := b.Records(b.Payload)
	var r Record
	if !walk.Next(&r) || r.Offset != 100 || r.Time != 4997 || r.Key == nil || len(r.Key) != 0 || r.Value != nil || r.HeaderCount != 0 {
		t.Errorf("record %+v", r)
	}
	if !walk.Next(&r) || r.Offset != 400 || r.Time != 9000 || string(r.Key) != "k" || string(r.Value) != "v" || r.HeaderCount != 3 {
		t.Errorf("record %+v", r)
	}
	var headers []string
	for {
		key, value, ok, err := r.NextHeader()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		headers = append(headers, fmt.Sprintf("%s=%s/%v", key, value, value == nil))
	}
	if fmt.Sprint(headers) != "[h=1/false h=/true =/false]" {
		t.Errorf("headers %v", headers)
	}
	if walk.Next(&r) || walk.Err() != nil {
		t.Errorf("after the last: %v", walk.Err())
	}

	s.attributes = 1 << 3
	if b, _, _, _ = Split(s.build(t)); !b.Attributes.LogAppendTime() {
		t.Fatal("no log append time")
	}
	if walk = b.Records(b.Payload); !walk.Next(&r) || r.Time != 9000 {
		t.Errorf("time %d, want the broker's", r.Time)
	}
}

func TestEveryCompression(t *testing.T) {
	data := []byte(strings.Repeat("0123456789abcdef", 1000))
	d := NewDecompressor(len(data))
	defer d.Close()
	for _, codec := range []Codec{None, Gzip, Snappy, xerialSnappy, LZ4, Zstd} {
		for range 2 { // the second time with what the first one left
			payload := compressed(t, codec, data)
			wire := codec & 7
			if codec == xerialSnappy {
				wire = Snappy
			}
			for _, buffer := range [][]byte{nil, []byte("before"), make([]byte, 10, len(data)+7)} {
				out, err := d.Decompress(buffer, wire, payload)
				if err != nil || !bytes.Equal(out, data) {
					t.Fatalf("codec %d: %d bytes, %v", codec, len(out), err)
				}
				if cap(buffer) > len(data) && codec != None && &out[0] != &buffer[0] {
					t.Errorf("codec %d leaves the buffer unused", codec)
				}
			}
			small := NewDecompressor(len(data) - 1)
			if _, err := small.Decompress(nil, wire, payload); !errors.Is(err, ErrTooLarge) {
				t.Errorf("codec %d beyond the limit: %v", codec, err)
			}
			small.Close()
			if codec == None {
				continue
			}
			if _, err := d.Decompress(nil, wire, payload[:len(payload)/2]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("half of codec %d: %v", codec, err)
			}
		}
	}
	if _, err := d.Decompress(nil, 5, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("an unknown codec: %v", err)
	}
}

func TestABombTakesNoMoreThanTheLimit(t *testing.T) {
	for codec, limit := range map[Codec]int{Gzip: 1 << 20, Snappy: 1 << 20, xerialSnappy: 1 << 20, LZ4: 4 << 20, Zstd: zstdWindowBytes} {
		payload := compressed(t, codec, make([]byte, 2*limit))
		wire := codec & 7
		if codec == xerialSnappy {
			wire = Snappy
		}
		d := NewDecompressor(limit)
		if _, err := d.Decompress(nil, wire, payload); !errors.Is(err, ErrTooLarge) {
			t.Errorf("codec %d: %v", codec, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = d.Decompress(nil, wire, payload)
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > uint64(6*limit) {
			t.Errorf("codec %d took %d bytes for a limit of %d", codec, taken, limit)
		}
		d.Close()
	}
	// A claim of 2 GiB in a few bytes.
	d := NewDecompressor(1 << 31)
	if _, err := d.Decompress(nil, Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x07, 0}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

func TestBrokenBatchesAreErrors(t *testing.T) {
	good := func() []byte {
		return spec{base: 3, entries: []entry{{value: []byte("value"), headers: [][2][]byte{{[]byte("k"), []byte("v")}}}, text(1, "b")}}.build(t)
	}
	change := func(at int, value byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = value; return b }
	}
	sealed := func(at int, value byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = value; return seal(b) }
	}
	for _, tc := range []struct {
		name string
		edit func([]byte) []byte
		want string
	}{
		{"a bit of a value", change(headerBytes+8, 'X'), "has the checksum"},
		{"an old format", change(atMagic, 1), "format 0 or 1"},
		{"a format to come", change(atMagic, 3), "format 3 is unknown"},
		{"a negative length", change(atLength, 0x80), "its length is -"},
		{"a length of nothing", func(b []byte) []byte { copy(b[atLength:], []byte{0, 0, 0, 8}); return b }, "its length is 8"},
		{"a negative offset", change(0, 0x80), "its offsets run from"},
		{"offsets that run back", sealed(atLastDelta, 0x80), "its offsets run from"},
		{"more records than offsets", sealed(atCount+3, 3), "claims 3 records"},
		{"a negative count", sealed(atCount, 0x80), "claims -"},
		{"a record longer than the batch", sealed(headerBytes, 0x7e), "length is not that"},
		{"a value longer than the record", sealed(headerBytes+5, 0x7e), "longer than the record"},
		{"more headers than the record", sealed(headerBytes+11, 0x7e), "longer than the record"},
		{"offsets out of order", sealed(headerBytes+3, 4), "out of order"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := describe(tc.edit(good()), nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || (!errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrOldFormat)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	if _, _, err := describe(good(), nil); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestABrokenHeaderIsAnError(t *testing.T) {
	for _, headers := range [][]byte{{0x01, 0x00}, {0x04, 'k'}, {0x02, 'k', 0x08, 'v'}, {}} {
		r := Record{HeaderCount: 1, Headers: headers}
		if _, _, ok, err := r.NextHeader(); ok || !errors.Is(err, ErrCorrupt) || r.HeaderCount != 0 {
			t.Errorf("%x: %v, %v", headers, ok, err)
		}
	}
}

// TestWhatTheLibraryWritesIsRead holds Split and Records to kafka-go's encoder.
func TestWhatTheLibraryWritesIsRead(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	field := func() []byte {
		if random.IntN(5) == 0 {
			return nil
		}
		return bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(300))
	}
	for range 200 {
		var records []protocol.Record
		var want []string
		for range 1 + random.IntN(20) {
			key, value := field(), field()
			at := time.UnixMilli(1e12 + random.Int64N(1e9))
			r := protocol.Record{Time: at, Key: protocol.NewBytes(key), Value: protocol.NewBytes(value)}
			for range random.IntN(3) {
				r.Headers = append(r.Headers, protocol.Header{Key: fmt.Sprint(random.IntN(9)), Value: field()})
			}
			want = append(want, fmt.Sprintf("%d %x %x %q", at.UnixMilli(), key, value, fmt.Sprint(r.Headers)))
			records = append(records, r)
		}
		set := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(random.IntN(5)), Records: protocol.NewRecordReader(records...)}
		var wire bytes.Buffer
		if _, err := set.WriteTo(&wire); err != nil {
			t.Fatal(err)
		}
		b, rest, ok, err := Split(wire.Bytes()[4:])
		if err != nil || !ok || len(rest) != 0 || b.Check() != nil {
			t.Fatalf("batch %+v, %d bytes left, %v, %v", b, len(rest), err, b.Check())
		}
		d := NewDecompressor(1 << 20)
		payload, err := d.Decompress(nil, b.Attributes.Codec(), b.Payload)
		d.Close()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		walk := b.Records(payload)
		var r Record
		for walk.Next(&r) {
			var headers []protocol.Header
			for r.HeaderCount > 0 {
				key, value, _, err := r.NextHeader()
				if err != nil {
					t.Fatal(err)
				}
				headers = append(headers, protocol.Header{Key: string(key), Value: value})
			}
			got = append(got, fmt.Sprintf("%d %x %x %q", r.Time, r.Key, r.Value, fmt.Sprint(headers)))
		}
		if walk.Err() != nil || !slices.Equal(got, want) {
			t.Fatalf("records %q, %v\nwant %q", got, walk.Err(), want)
		}
	}
}

// FuzzAnswer reads any bytes as an answer. Beside not crashing, offsets must
// never go back and stay within their batch.
func FuzzAnswer(f *testing.F) {
	for codec := None; codec <= Zstd; codec++ {
		f.Add(spec{base: 3, attributes: Attributes(codec), entries: []entry{{key: []byte("k"), value: []byte("v"), headers: [][2][]byte{{[]byte("h"), nil}}}, text(1, "b")}}.build(f), int64(0))
	}
	f.Add(append(spec{base: 0, producer: 1, attributes: 1 << 4, entries: []entry{text(0, "a")}}.build(f), marker(1, 1, false).build(f)...), int64(1))
	f.Fuzz(func(t *testing.T, data []byte, producer int64) {
		var skip Aborted
		skip.Reset([]AbortedTransaction{{producer, 0}})
		d := NewDecompressor(1 << 16)
		defer d.Close()
		for {
			b, rest, ok, err := Split(data)
			if err != nil || !ok {
				return
			}
			if len(rest) >= len(data) || b.LastOffset < b.BaseOffset {
				t.Fatalf("no step: %+v", b)
			}
			data = rest
			_ = b.Check()
			payload, err := d.Decompress(nil, b.Attributes.Codec(), b.Payload)
			if err != nil {
				continue
			}
			if len(payload) > 1<<16 {
				t.Fatalf("%d bytes", len(payload))
			}
			_ = skip.Skips(&b, payload)
			walk := b.Records(payload)
			var r Record
			last := b.BaseOffset - 1
			for walk.Next(&r) {
				if r.Offset <= last || r.Offset > b.LastOffset {
					t.Fatalf("offset %d after %d of %+v", r.Offset, last, b)
				}
				last = r.Offset
				for {
					if _, _, ok, _ := r.NextHeader(); !ok {
						break
					}
				}
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var entries []entry
	for i := range 1000 {
		entries = append(entries, text(int64(i), fmt.Sprintf("%d %s", i, strings.Repeat("a line of a log ", 12))))
	}
	for codec, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		data := spec{base: 3, attributes: Attributes(codec), entries: entries}.build(b)
		b.Run(name, func(b *testing.B) {
			d := NewDecompressor(1 << 20)
			defer d.Close()
			var payload []byte
			b.ReportAllocs()
			for b.Loop() {
				batch, _, _, err := Split(data)
				if err != nil || batch.Check() != nil {
					b.Fatal(err)
				}
				if payload, err = d.Decompress(payload, batch.Attributes.Codec(), batch.Payload); err != nil {
					b.Fatal(err)
				}
				walk := batch.Records(payload)
				n := 0
				var r Record
				for walk.Next(&r) {
					n++
				}
				if n != len(entries) {
					b.Fatal(n, walk.Err())
				}
			}
			b.ReportMetric(float64(len(entries))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
