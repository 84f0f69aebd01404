package funcs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	goodAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36"
	goodPath  = "/shop/category/garden/product-4711.html"
)

func hubData(b *testing.B, name, kind string) *Data {
	d := NewData()
	if err := d.Load(name, filepath.Join(hub(b), "data", name), kind, LoadOptions{}); err != nil {
		b.Fatal(err)
	}
	return d
}

func BenchmarkRegexpInFile(b *testing.B) {
	const name = "bad_user_agents.regex.txt"
	d := hubData(b, name, "regexp")
	b.ReportAllocs()
	for b.Loop() {
		if d.RegexpInFile(goodAgent, name) {
			b.Fatal("a good agent matches")
		}
	}
}

// BenchmarkRegexpInFileLoop is what RegexpInFile would take without its index.
func BenchmarkRegexpInFileLoop(b *testing.B) {
	const name = "bad_user_agents.regex.txt"
	d := hubData(b, name, "regexp")
	for b.Loop() {
		d.regexps[name].set.matchPlain(goodAgent)
	}
}

func BenchmarkContainsAny(b *testing.B) {
	const name = "sensitive_data.txt"
	d := hubData(b, name, "string")
	b.ReportAllocs()
	for b.Loop() {
		d.ContainsAny(name, goodPath)
	}
}

// BenchmarkContainsAnyLoop is the loop that ContainsAny stands for.
func BenchmarkContainsAnyLoop(b *testing.B) {
	const name = "sensitive_data.txt"
	lines, _ := hubData(b, name, "string").Lines(name)
	for b.Loop() {
		if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(goodPath, l) }) {
			b.Fatal("a good path matches")
		}
	}
}

func BenchmarkLookupFile(b *testing.B) {
	const name = "technology_probing.json"
	d := hubData(b, name, "map")
	b.ReportAllocs()
	for b.Loop() {
		d.LookupFile(goodPath, name)
	}
}

func BenchmarkIpInRange(b *testing.B) {
	f := function(b, Table(NewData()), "IpInRange").Bool2
	b.ReportAllocs()
	for b.Loop() {
		f("203.0.113.77", "203.0.113.0/24")
	}
}

func BenchmarkJsonExtract(b *testing.B) {
	blob := `{"level":"info","ts":1700000000.5,"request":{"remote_ip":"203.0.113.7","headers":{"User-Agent":["curl/8"]},"uri":"/a"},"status":200}`
	f := function(b, Table(NewData()), "JsonExtract").String2
	b.ReportAllocs()
	for b.Loop() {
		f(blob, "request.headers.User-Agent[0]")
	}
}

// BenchmarkXMLGetNodeValue asks one new event twenty questions, as the hub's Windows parsers do.
func BenchmarkXMLGetNodeValue(b *testing.B) {
	var data strings.Builder
	for i := range 20 {
		fmt.Fprintf(&data, `<Data Name="Field%d">C:\Windows\System32\value &amp; %d</Data>`, i, i)
	}
	text := `<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><EventID>1</EventID></System><EventData>` + data.String()
	lines := []string{text + `</EventData></Event>`, text + `<Data/></EventData></Event>`}
	x := newXMLReader()
	n := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(lines[0])))
	for b.Loop() {
		n++
		for range 20 {
			if x.nodeValue(lines[n%2], "/Event/EventData[1]/Data[@Name='Field7']") == "" {
				b.Fatal("nothing found")
			}
		}
	}
}
