package funcs

import (
	"encoding/json"
	"strings"
	"testing"
	"unsafe"
)

func TestJsonExtractPaths(t *testing.T) {
	const blob = `{"a":{"b":[{"c":"x\"y"},[10,20]],"d.e":1,"n":null,"s":"","t":true,"f":1.50},"z":[1]}`
	for _, c := range []struct{ path, want string }{
		{"a.b[0].c", `x\"y`}, {"a.b[1][1]", "20"}, {"a.b", `[{"c":"x\"y"},[10,20]]`}, {"a.n", "null"}, {"a.s", ""},
		{"a.t", "true"}, {"a.f", "1.50"}, {"a.missing", ""}, {"a.b[7]", ""}, {"z[0]", "1"}, {"", ""}, {"a.d.e", ""},
	} {
		if got := call(t, "JsonExtract", blob, c.path); got != c.want {
			t.Errorf("JsonExtract at %q is %q, want %q", c.path, got, c.want)
		}
	}
	if got := call(t, "JsonExtract", `[{"a":1}]`, "[0].a"); got != "1" {
		t.Errorf("an array at the top gives %q", got)
	}
	if got := call(t, "JsonExtractUnescape", `{"a":1}`, "a"); got != "" {
		t.Errorf("a number is no string: %q", got)
	}
}

func TestJsonExtractAllocatesNothing(t *testing.T) {
	extract := function(t, Table(NewData()), "JsonExtract").String2
	if n := testing.AllocsPerRun(100, func() { extract(`{"a":{"b":"c"}}`, "a.b") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestUnmarshalJSONKeepsNothingOfTheLine(t *testing.T) {
	line := []byte(`{"key":"value"}`)
	m := map[string]any{}
	if err := call(t, "UnmarshalJSON", unsafe.String(&line[0], len(line)), m, "j"); err != nil {
		t.Fatal(err)
	}
	for i := range line {
		line[i] = 'X'
	}
	if got, _ := json.Marshal(m); string(got) != `{"j":{"key":"value"}}` {
		t.Errorf("after the line was written over: %s", got)
	}
}

func TestHostileJSONEnds(t *testing.T) {
	for _, blob := range []string{
		strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1<<18), `{"a":"` + strings.Repeat(`\`, 1<<20), strings.Repeat("\x00", 1<<16),
		strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
	} {
		for _, name := range []string{"JsonExtract", "JsonExtractUnescape", "JsonExtractSlice", "JsonExtractObject"} {
			call(t, name, blob, "a.a[0].a")
		}
		call(t, "UnmarshalJSON", blob, map[string]any{}, "j")
	}
	deep := map[string]any{}
	call(t, "UnmarshalJSON", strings.Repeat("[", 9000)+strings.Repeat("]", 9000), deep, "j")
	call(t, "Flatten", deep["j"])
	call(t, "ToJsonString", deep["j"])
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[{"b":"c\u00e9"}]}`, `{"a":`, `{"a":"\`, `[1,2`, `{"a":{"a":1}}x`, "\xff"} {
		f.Add(s, "a[0].b")
		f.Add(s, "a")
	}
	table := Table(NewData())
	extract, slice := function(f, table, "JsonExtract").String2, function(f, table, "JsonExtractSlice").Call
	unescape, unmarshal := function(f, table, "JsonExtractUnescape").Call, function(f, table, "UnmarshalJSON").Call
	f.Fuzz(func(t *testing.T, blob, path string) {
		raw := extract(blob, path)
		slice(blob, path)
		unescape(blob, path)
		m := map[string]any{}
		if _, err := unmarshal(blob, m, "j"); err != nil {
			return
		}
		// Of well-formed text, what is extracted is a part.
		if !strings.Contains(blob, raw) {
			t.Errorf("JsonExtract(%q, %q) is %q, which does not stand there", blob, path, raw)
		}
	})
}
