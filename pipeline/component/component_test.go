package component

import (
	"errors"
	"strings"
	"testing"
	"time"
)

type tlsConfig struct {
	CAFile string `yaml:"ca_file"`
	Verify bool   `yaml:"verify"`
}

type config struct {
	Brokers []string          `yaml:"brokers"`
	Wait    time.Duration     `yaml:"max_wait"`
	Size    Bytes             `yaml:"max_bytes"`
	TLS     tlsConfig         `yaml:"tls"`
	Labels  map[string]string `yaml:"labels"`
}

func (c *config) Validate() error {
	if len(c.Brokers) == 0 {
		return Invalid("brokers", "at least one is needed")
	}
	if c.Size > 1<<30 {
		return Invalid("max_bytes", "%v is more than 1GiB", c.Size)
	}
	if c.TLS.CAFile == "gone" {
		return Invalid("tls.ca_file", "there is no such file")
	}
	return nil
}

type product struct {
	name   string
	config config
}

func newRegistry() *Registry[int, product] {
	r := &Registry[int, product]{Noun: "source"}
	Register(r, Kind[config, int, product]{
		Type:    "kafka",
		Default: func() config { return config{Wait: time.Second, Size: 1 << 20, TLS: tlsConfig{Verify: true}} },
		New:     func(name string, c config, _ int) (product, error) { return product{name, c}, nil },
	})
	return r
}

func TestAMappingIsLaidOverTheDefaults(t *testing.T) {
	node, err := Parse([]byte("type: kafka\nbrokers: [a, b]\nmax_wait: 250ms\ntls:\n  ca_file: x.pem\nlabels: {type: nginx}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := newRegistry().New(node, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p.name != "kafka" {
		t.Errorf("name = %q, want the type", p.name)
	}
	if p.config.Wait != 250*time.Millisecond || p.config.Size != 1<<20 || !p.config.TLS.Verify || p.config.TLS.CAFile != "x.pem" ||
		len(p.config.Brokers) != 2 || p.config.Labels["type"] != "nginx" {
		t.Errorf("config = %+v", p.config)
	}
}

func TestMistakesHaveAPlaceAndASuggestion(t *testing.T) {
	for _, c := range []struct {
		name, yaml   string
		line, column int
		message      string
		suggestion   string
	}{
		{"an unknown key names the nearest", "type: kafka\nbrokrs: [a]\n", 2, 1, `unknown key "brokrs"`, "brokers"},
		{"an unknown key of a nested mapping", "type: kafka\nbrokers: [a]\ntls:\n  ca_fil: x\n", 4, 3, `unknown key "ca_fil"`, "ca_file"},
		{"an unknown key far from all names none", "type: kafka\nbrokers: [a]\nzzzzzzzz: 1\n", 3, 1, `unknown key "zzzzzzzz"`, ""},
		{"a duration that is none", "type: kafka\nbrokers: [a]\nmax_wait: soon\n", 3, 11, `"soon" is no duration; write a number with a unit, such as 500ms, 10s or 4h`, ""},
		{"a duration of an unknown unit", "type: kafka\nbrokers: [a]\nmax_wait: 4x\n", 3, 11, `"4x" is no duration; write`, ""},
		{"a duration without a unit", "type: kafka\nbrokers: [a]\nmax_wait: 4\n", 3, 11, "a duration such as 500ms, 10s or 4h is expected here, and not a number", ""},
		{"a word where true or false stands", "type: kafka\nbrokers: [a]\ntls: {verify: maybe}\n", 3, 15, "true or false is expected here, and not a text", ""},
		{"a text in place of a list", "type: kafka\nbrokers: a\n", 2, 10, "a list is expected here, and not a text; begin each item with a dash, or write [one, another]", ""},
		{"an address that reads as a mapping", "{type: kafka, brokers: [localhost:9092]}\n", 1, 34, "a text is expected here, and not a mapping of keys to values; a text with a colon in it needs quotes", ""},
		{"a list in place of a mapping", "type: kafka\nbrokers: [a]\nlabels: [a]\n", 3, 9, "a mapping of keys to values is expected here, and not a list", ""},
		{"a size that is none", "type: kafka\nbrokers: [a]\nmax_bytes: 3 apples\n", 3, 12, "is not a size", ""},
		{"a value that validation refuses", "type: kafka\nbrokers: [a]\nmax_bytes: 2GiB\n", 3, 12, "more than 1GiB", ""},
		{"a nested value that validation refuses", "type: kafka\nbrokers: [a]\ntls:\n  ca_file: gone\n", 4, 12, "no such file", ""},
		{"a missing key is blamed on the mapping", "type: kafka\nmax_wait: 1s\n", 2, 1, "at least one", ""},
		{"a type that is unknown", "type: kafak\n", 1, 7, `no source of type "kafak"`, "kafka"},
		{"no type at all", "brokers: [a]\n", 1, 1, "has no type", ""},
		{"a list instead of a mapping", "- a\n", 1, 1, "a mapping", ""},
		{"a key twice", "type: kafka\nbrokers: [a]\nbrokers: [b]\n", 3, 1, "already defined", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, err := Parse([]byte(c.yaml))
			if err == nil {
				_, err = newRegistry().New(node, 0)
			}
			var ce *ConfigError
			if !errors.As(err, &ce) {
				t.Fatalf("error = %v, want a ConfigError", err)
			}
			if ce.Line != c.line || ce.Column != c.column || !strings.Contains(ce.Message, c.message) || ce.Suggestion != c.suggestion {
				t.Errorf("error = %+v", *ce)
			}
		})
	}
}

func TestAKindRegisteredTwiceIsAnErrorWhenUsed(t *testing.T) {
	r := newRegistry()
	Register(r, Kind[config, int, product]{Type: "kafka", Default: func() config { return config{} }})
	node, _ := Parse([]byte("type: kafka"))
	if _, err := r.New(node, 0); err == nil || !strings.Contains(err.Error(), "registered twice") {
		t.Errorf("error = %v", err)
	}
}

func TestBytesReadAndWriteUnits(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "512": 512, "64KiB": 64 << 10, "1 MiB": 1 << 20, "2GB": 2e9, "7B": 7} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q = %d, %v, want %d", text, b, err, want)
		}
	}
	for _, bad := range []string{"", "-1", "1.5MiB", "9999999999GiB", "x"} {
		var b Bytes
		if b.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is read as %d", bad, b)
		}
	}
	for b, want := range map[Bytes]string{512: "512", 64 << 10: "64KiB", 1<<20 + 1: "1048577", 3 << 30: "3GiB"} {
		if b.String() != want {
			t.Errorf("%d is written as %q", int64(b), b.String())
		}
	}
}

func TestTakeSplitsAMapping(t *testing.T) {
	node, _ := Parse([]byte("decode: {format: json}\nbrokers: [a]\n"))
	taken, rest, err := Take(node, "decode")
	if err != nil || taken["decode"] == nil {
		t.Fatal(taken, err)
	}
	var c config
	if err := Decode(rest, &c); err != nil || len(c.Brokers) != 1 {
		t.Errorf("the rest decodes to %+v, %v", c, err)
	}
	if _, rest, _ = Take(rest, "brokers"); Decode(rest, &tlsConfig{}) != nil {
		t.Error("an empty rest leaves the defaults")
	}
}
