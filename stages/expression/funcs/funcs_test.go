package funcs

import (
	"reflect"
	"testing"
)

func call(t *testing.T, name string, args ...any) any {
	t.Helper()
	for _, table := range [][]Function{Table(NewData()), TestTable()} {
		for _, f := range table {
			if f.Name == name {
				out, err := f.Call(args...)
				if err != nil {
					return err
				}
				return out
			}
		}
	}
	t.Fatalf("there is no helper %s", name)
	return nil
}

func TestHelpers(t *testing.T) {
	for _, c := range []struct {
		name string
		args []any
		want any
	}{
		{"Upper", []any{"aé"}, "AÉ"},
		{"PathUnescape", []any{"%41%zz"}, "%41%zz"},
		{"QueryUnescape", []any{"a+%41"}, "a A"},
		{"IpInRange", []any{"::ffff:10.1.2.3", "10.0.0.0/8"}, true},
		{"IpInRange", []any{"2001:db8::1", "2001:db8::/32"}, true},
		{"IpInRange", []any{"nonsense", "10.0.0.0/8"}, false},
		{"IpToRange", []any{"192.0.2.77", "/24"}, "192.0.2.0/24"},
		{"IpToRange", []any{"2001:db8:1:2:3::4", "64"}, "2001:db8:1:2::/64"},
		{"IsIPV6", []any{"::ffff:1.2.3.4"}, false},
		{"JsonExtract", []any{`{"a":{"b":["x",{"c":"y\n"}]}}`, "a.b[1].c"}, `y\n`},
		{"JsonExtractUnescape", []any{`{"a":"y\n"}`, "a"}, "y\n"},
		{"JsonExtract", []any{`{"a":`, "a"}, ""},
		{"Match", []any{"*.exa?ple.com", "www.example.com"}, true},
		{"Match", []any{"", ""}, true},
		{"Match", []any{"a*b*c", "aXbX"}, false},
		{"Sprintf", []any{"%s-%d", "a", 7}, "a-7"},
		{"B64Decode", []any{"aGk="}, "hi"},
		{"XMLGetNodeValue", []any{`<E><D Name="x">v</D></E>`, "/E/D[@Name='x']"}, "v"},
		{"XMLGetAttributeValue", []any{`<E><D Name="x">v</D></E>`, "/E/D", "Name"}, "x"},
		{"XMLGetNodeValue", []any{`<E><D`, "/E/D"}, ""},
		{"basename", []any{"/a/b.log"}, "b.log"},
	} {
		if got := call(t, c.name, c.args...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s%v is %v (%T), want %v", c.name, c.args, got, got, c.want)
		}
	}
}

func TestParseKVTable(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       map[string]string
	}{
		{"ParseKV", `a=1 b="two words" c= d="q\"q" e=`, map[string]string{"a": "1", "b": "two words", "c": "", "d": `q\"q`, "e": ""}},
		{"ParseKV", `type=SYSCALL msg=audit(1:2): exe="/bin/sh"`, map[string]string{"type": "SYSCALL", "msg": "audit(1:2):", "exe": "/bin/sh"}},
		{"ParseKVLax", `a=one two b="x=y" c=3`, map[string]string{"a": "one two", "b": "x=y", "c": "3"}},
	} {
		m := map[string]any{}
		if err := call(t, c.name, c.text, m, "k"); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		if !reflect.DeepEqual(m["k"], c.want) {
			t.Errorf("%s %s gives %v, want %v", c.name, c.text, m["k"], c.want)
		}
	}
	if err, ok := call(t, "ParseKV", "nothing here", map[string]any{}, "k").(error); !ok {
		t.Errorf("text without pairs gives %v, want an error", err)
	}
}
