package http

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// pushFile declares Loki's messages for the protobuf library, whose encoder the
// decoder here is compared with.
func pushFile(t testing.TB) protoreflect.FileDescriptor {
	t.Helper()
	type fields = []*descriptorpb.FieldDescriptorProto
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, repeated bool, of string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		if repeated {
			f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}
		if of != "" {
			f.TypeName = proto.String(".logproto." + of)
		}
		return f
	}
	message := func(name string, f fields) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{Name: &name, Field: f}
	}
	const (
		text   = descriptorpb.FieldDescriptorProto_TYPE_STRING
		nested = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	)
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("push.proto"), Package: proto.String("logproto"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			message("PushRequest", fields{field("streams", 1, nested, true, "Stream")}),
			message("Stream", fields{field("labels", 1, text, false, ""), field("entries", 2, nested, true, "Entry"),
				field("hash", 3, descriptorpb.FieldDescriptorProto_TYPE_UINT64, false, "")}),
			message("Entry", fields{field("timestamp", 1, nested, false, "Timestamp"), field("line", 2, text, false, ""),
				field("structuredMetadata", 3, nested, true, "LabelPair"), field("parsed", 4, nested, true, "LabelPair")}),
			message("Timestamp", fields{field("seconds", 1, descriptorpb.FieldDescriptorProto_TYPE_INT64, false, ""),
				field("nanos", 2, descriptorpb.FieldDescriptorProto_TYPE_INT32, false, "")}),
			message("LabelPair", fields{field("name", 1, text, false, ""), field("value", 2, text, false, "")}),
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// The push that tests encode.
type (
	pushed struct{ streams []stream }
	stream struct {
		labels  [][2]string
		entries []entry
	}
	entry struct {
		at       time.Time
		line     string
		metadata [][2]string
	}
)

// protobuf encodes a push with the library.
func (p *pushed) protobuf(t testing.TB, file protoreflect.FileDescriptor) []byte {
	t.Helper()
	make := func(name string) *dynamicpb.Message {
		return dynamicpb.NewMessage(file.Messages().ByName(protoreflect.Name(name)))
	}
	set := func(m *dynamicpb.Message, name string, value any) {
		m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOf(value))
	}
	add := func(m *dynamicpb.Message, name string, value *dynamicpb.Message) {
		m.Mutable(m.Descriptor().Fields().ByName(protoreflect.Name(name))).List().Append(protoreflect.ValueOfMessage(value))
	}
	request := make("PushRequest")
	for _, s := range p.streams {
		sm := make("Stream")
		var labels []string
		for _, l := range s.labels {
			labels = append(labels, l[0]+"="+strconv.Quote(l[1]))
		}
		set(sm, "labels", "{"+strings.Join(labels, ", ")+"}")
		set(sm, "hash", uint64(0xfeedfacecafebeef))
		for _, e := range s.entries {
			em, ts := make("Entry"), make("Timestamp")
			set(ts, "seconds", e.at.Unix())
			set(ts, "nanos", int32(e.at.Nanosecond()))
			set(em, "timestamp", ts.ProtoReflect())
			set(em, "line", e.line)
			for _, m := range e.metadata {
				pm := make("LabelPair")
				set(pm, "name", m[0])
				set(pm, "value", m[1])
				add(em, "structuredMetadata", pm)
			}
			ignored := make("LabelPair")
			set(ignored, "name", "parsed")
			add(em, "parsed", ignored)
			add(sm, "entries", em)
		}
		add(request, "streams", sm)
	}
	body, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// json encodes a push with the standard library.
func (p *pushed) json(t testing.TB) []byte {
	t.Helper()
	type js struct {
		Stream map[string]string `json:"stream"`
		Values [][]any           `json:"values"`
	}
	var out struct {
		Streams []js `json:"streams"`
	}
	for _, s := range p.streams {
		one := js{Stream: map[string]string{}, Values: [][]any{}}
		for _, l := range s.labels {
			one.Stream[l[0]] = l[1]
		}
		for _, e := range s.entries {
			v := []any{strconv.FormatInt(e.at.UnixNano(), 10), e.line}
			if len(e.metadata) == 1 { // the order of several is not kept in a map
				v = append(v, map[string]string{e.metadata[0][0]: e.metadata[0][1]})
			}
			one.Values = append(one.Values, v)
		}
		out.Streams = append(out.Streams, one)
	}
	body, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// records is what is to come out.
func (p *pushed) records(asJSON bool) []string {
	var out []string
	for _, s := range p.streams {
		labels := slices.Clone(s.labels)
		slices.SortFunc(labels, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		for _, e := range s.entries {
			text := "/loki/api/v1/push " + e.at.UTC().Format(time.RFC3339Nano)
			for _, l := range labels {
				text += fmt.Sprintf(" %s=%q", l[0], l[1])
			}
			if !asJSON || len(e.metadata) == 1 {
				for _, m := range e.metadata {
					text += fmt.Sprintf(" header %s=%q", m[0], m[1])
				}
			}
			out = append(out, text+fmt.Sprintf(" | %q", e.line))
		}
	}
	return out
}

// random makes a push of a few streams.
func random(rng *rand.Rand) *pushed {
	word := func() string {
		return []string{"", "a", "web-1", "ünïcödé", "with \"quotes\" and \\", "two\nlines\t", "\u0000\u0001", strings.Repeat("long ", 2000), "{x=\"y\"}"}[rng.IntN(9)]
	}
	p := &pushed{}
	for range rng.IntN(5) {
		var s stream
		for i := range rng.IntN(5) {
			s.labels = append(s.labels, [2]string{fmt.Sprintf("l%d", i), word()})
		}
		for range rng.IntN(20) {
			e := entry{at: time.Unix(rng.Int64N(4e9)-1e9, rng.Int64N(1e9)).UTC(), line: word()}
			for i := range rng.IntN(4) {
				e.metadata = append(e.metadata, [2]string{fmt.Sprintf("m%d", i), word()})
			}
			s.entries = append(s.entries, e)
		}
		p.streams = append(p.streams, s)
	}
	return p
}

// TestPushesAreDecodedAsTheLibraryEncodesThem is the differential test of both decoders.
func TestPushesAreDecodedAsTheLibraryEncodesThem(t *testing.T) {
	file := pushFile(t)
	w := listening(t, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		p := random(rng)
		for _, way := range []string{"protobuf", "json", "json, gzip"} {
			var status int
			var said string
			switch way {
			case "protobuf":
				body := snappy.Encode(nil, p.protobuf(t, file))
				head := []string{"Content-Type", "application/x-protobuf"}
				if i%2 == 0 { // as some clients say
					head = append(head, "Content-Encoding", "snappy")
				}
				status, said = w.post("/loki/api/v1/push", body, append(head, "Idempotency-Key", fmt.Sprint(way, i))...)
			case "json":
				status, said = w.post("/loki/api/v1/push", p.json(t), "Content-Type", "application/json", "Idempotency-Key", fmt.Sprint(way, i))
			default:
				status, said = w.post("/loki/api/v1/push", pack(t, "gzip", p.json(t)), "Content-Type", "application/json",
					"Content-Encoding", "gzip", "Idempotency-Key", fmt.Sprint(way, i))
			}
			got, want := w.take(), p.records(way != "protobuf")
			if status != 204 || said != "" {
				t.Fatalf("push %d as %s: answered %d %s", i, way, status, said)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("push %d as %s:\n got %.2000q\nwant %.2000q", i, way, got, want)
			}
		}
	}
}

func TestPushesThatAreNotSound(t *testing.T) {
	w := listening(t, nil)
	for _, c := range []struct{ name, body, want string }{
		{"nothing", "", "the body is empty"},
		{"no JSON", `{"streams":[`, "the body: unexpected end of JSON input"},
		{"no object", `[]`, `the body is no object with "streams"`},
		{"no streams", `{"a":1}`, `the body is no object with "streams"`},
		{"streams that are none", `{"streams":{}}`, "streams is no array"},
		{"a stream that is none", `{"streams":[1]}`, "stream 1: it is no object"},
		{"labels that are none", `{"streams":[{"stream":[]}]}`, "stream 1: its labels are no object"},
		{"a label that is no string", `{"streams":[{"stream":{"a":1}}]}`, "stream 1: a label is no string"},
		{"values that are none", `{"streams":[{"stream":{},"values":{}}]}`, "stream 1: values is no array"},
		{"an entry that is none", `{"streams":[{"stream":{}},{"values":[["1","a"],{}]}]}`, "stream 2, entry 2: it is no array of a time and a line"},
		{"an entry without a line", `{"streams":[{"values":[["1"]]}]}`, "stream 1, entry 1: it is no array of a time and a line"},
		{"a time that is a number", `{"streams":[{"values":[[1,"a"]]}]}`, "stream 1, entry 1: its time is no string of nanoseconds"},
		{"a time that is none", `{"streams":[{"values":[["now","a"]]}]}`, "stream 1, entry 1: its time is no string of nanoseconds"},
		{"a line that is none", `{"streams":[{"values":[["1",{}]]}]}`, "stream 1, entry 1: its line is no string"},
		{"metadata that is none", `{"streams":[{"values":[["1","a",[]]]}]}`, "stream 1, entry 1: its metadata is no object"},
		{"deep nesting", strings.Repeat(`{"streams":`, 1000) + "1" + strings.Repeat("}", 1000), "the body: it nests deeper than 512"},
	} {
		t.Run("JSON/"+c.name, func(t *testing.T) {
			status, said := w.post("/loki/api/v1/push", []byte(c.body), "Content-Type", "application/json")
			if status != 400 || !strings.Contains(said, c.want) {
				t.Errorf("answered %d %s, want %s", status, said, c.want)
			}
		})
	}
	for _, c := range []struct{ name, body, want string }{
		{"no protobuf", "\xff\xff\xff", "the body is no protobuf"},
		{"a length beyond the end", "\x0a\x7f", "the body is no protobuf"},
		{"a stream that ends early", "\x0a\x02\x0a\x05", "stream 1: it is no protobuf"},
		{"labels that are none", "\x0a\x03\x0a\x01x", `stream 1: its labels "x": they do not begin with {`},
		{"an entry that ends early", "\x0a\x04\x12\x02\x12\x05", "stream 1, entry 1: it is no protobuf"},
		{"nanoseconds beyond a second", "\x0a\x0a\x12\x08\x0a\x06\x10\x80\x94\xeb\xdc\x03", "stream 1, entry 1: the nanoseconds of its time"},
		{"a time beyond all bounds", "\x0a\x0e\x12\x0c\x0a\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "stream 1, entry 1: its time is out of all bounds"},
	} {
		t.Run("protobuf/"+c.name, func(t *testing.T) {
			status, said := w.post("/loki/api/v1/push", snappy.Encode(nil, []byte(c.body)), "Content-Type", "application/x-protobuf")
			if status != 400 || !strings.Contains(said, c.want) {
				t.Errorf("answered %d %s, want %s", status, said, c.want)
			}
		})
	}
	if status, said := w.post("/loki/api/v1/push", []byte("\xff\xff\xff\xff\x0f no block"), "Content-Type", "application/x-protobuf"); status != 413 && status != 400 {
		t.Errorf("a block that is none: %d %s", status, said)
	}
	if got := w.take(); len(got) > 0 {
		t.Errorf("took %q", got)
	}
}

func TestAPushThatComesAgainCountsOnce(t *testing.T) {
	w := listening(t, nil)
	body := []byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]},{"stream":{"a":"c"},"values":[["2","y"]]}]}`)
	for range 3 {
		if status, said := w.post("/loki/api/v1/push", body, "Content-Type", "application/json"); status != 204 {
			t.Fatalf("answered %d %s", status, said)
		}
	}
	if got := w.take(); len(got) != 2 {
		t.Errorf("got %q", got)
	}
}

func TestAnEntryWithoutATimeHasThatOfItsReceipt(t *testing.T) {
	w := listening(t, nil)
	body := "\x0a\x0c\x0a\x02{}\x12\x06\x12\x04line"
	if status, said := w.post("/loki/api/v1/push", snappy.Encode(nil, []byte(body)), "Content-Type", "application/x-protobuf"); status != 204 {
		t.Fatalf("answered %d %s", status, said)
	}
	if got := w.take(); len(got) != 1 || got[0] != `/loki/api/v1/push 2024-05-01T12:00:00Z | "line"` {
		t.Errorf("got %q", got)
	}
}
