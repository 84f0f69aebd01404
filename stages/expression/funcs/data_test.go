package funcs

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCommentsAndEmptyLinesAreSkipped(t *testing.T) {
	d := NewData()
	mustLoad(t, d, "f.txt", "string", "# a comment\n\n/admin\r\n #kept\n/last")
	if lines, ok := d.Lines("f.txt"); !ok || !slices.Equal(lines, []string{"/admin", " #kept", "/last"}) {
		t.Errorf("the lines are %q", lines)
	}
	if _, ok := d.Lines("other.txt"); ok {
		t.Error("a file that was not loaded is there")
	}
}

func TestTheFirstLoadOfANameAndKindCounts(t *testing.T) {
	d := NewData()
	mustLoad(t, d, "f", "string", "one")
	mustLoad(t, d, "f", "string", "two")
	mustLoad(t, d, "f", "regex", "^t")
	mustLoad(t, d, "g", "", "not read")
	if lines, _ := d.Lines("f"); !slices.Equal(lines, []string{"one"}) {
		t.Errorf("the lines are %q", lines)
	}
	if !d.RegexpInFile("two", "f") || d.RegexpInFile("one", "f") {
		t.Error("the same name of another kind is another file")
	}
	if _, ok := d.Lines("g"); ok {
		t.Error("a file without a kind was loaded")
	}
}

func TestLoadErrorsNameFileAndLine(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{"regexp", "fine\n\n[a-", `bad:3: the line "[a-" is no regular expression`},
		{"map", `{"pattern":"a","tag":"t","type":"equals"}` + "\n{", "bad:2: not a JSON object"},
		{"map", `{"pattern":"a","type":"equals"}`, `bad:1: the row has no "tag"`},
		{"map", `{"pattern":"(","tag":"t","type":"regex"}`, `bad:1: the row's pattern "("`},
		{"map", `{"pattern":"a","tag":"t","type":"glob"}`, `"glob"`},
		{"bots", `{"name":"b","user_agent":"b"}`, "neither ips"},
		{"bots", `{"name":"b","ips":["x"]}`, "bad:1: the bot b"},
		{"bots", `{"name":"b","rdns":[""]}`, "empty pattern"},
		{"bots", `{"nome":"b"}`, "unknown field"},
		{"list", "a", `there is no type "list"`},
		{"string", strings.Repeat("x", maxDataLine+1), "bad:1: "},
	} {
		d := NewData()
		err := load(t, d, "bad", c.kind, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.40q: the error is %v, want it to say %q", c.kind, c.text, err, c.want)
		}
		if _, ok := d.Lines("bad"); ok || d.RegexpInFile("fine", "bad") {
			t.Errorf("%s: a file with an error was loaded", c.kind)
		}
	}
	if err := NewData().Load("f", filepath.Join(t.TempDir(), "missing.txt"), "string", LoadOptions{}); err == nil || !strings.Contains(err.Error(), "missing.txt") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestCacheOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("^.$\n[xy]z"), 0o600); err != nil {
		t.Fatal(err)
	}
	no := false
	for _, o := range []LoadOptions{
		{}, {Strategy: "LRU", Size: 2}, {Strategy: "LFU"}, {Strategy: "ARC", TTLNanos: 1}, {Cache: &no, Size: 10}, {TTLNanos: 5},
	} {
		d := NewData()
		if err := d.Load("f", path, "regexp", o); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, s := range []string{"a", "ab", "xz", "yz", ""} {
				if got, want := d.RegexpInFile(s, "f"), s == "a" || strings.HasSuffix(s, "z"); got != want {
					t.Errorf("%+v: %q matches: %v", o, s, got)
				}
			}
		}
		if c := d.regexps["f"].cache; c != nil && c.Len() > max(o.Size, defaultCacheSize) {
			t.Errorf("%+v: the cache holds %d answers", o, c.Len())
		}
	}
	for _, o := range []LoadOptions{{Strategy: "FIFO"}, {Size: -1}, {Size: maxCacheSize + 1}} {
		if err := NewData().Load("f", path, "regexp", o); err == nil {
			t.Errorf("%+v: want an error", o)
		}
	}
}

func TestLookupFilePrefersEqualThenLeftmostThenRegexp(t *testing.T) {
	d := NewData()
	row := func(pattern, tag, kind string) string {
		return fmt.Sprintf(`{"pattern":%q,"tag":%q,"type":%q}`+"\n", pattern, tag, kind)
	}
	mustLoad(t, d, "m", "map", row("^/z", "regexp", "regex")+row("min", "short", "contains")+row("/wp-admin", "long", "contains")+
		row("/wp", "wp", "contains")+row("/wp-admin", "first equal", "equals")+row("/wp-admin", "equal", "equals"))
	for s, want := range map[string]string{
		"/wp-admin": "equal", "/x/wp-admin": "long", "/wp-": "wp", "admin": "short", "min/wp": "short", "/z": "regexp", "/zmin": "short", "": "", "/y": "",
	} {
		if got := d.LookupFile(s, "m"); got != want {
			t.Errorf("LookupFile(%q) is %q, want %q", s, got, want)
		}
	}
	if len(d.maps["m"].rows) != 6 {
		t.Error("FileMap must give all rows")
	}
}

type fakeDNS struct{ asked int }

func (f *fakeDNS) LookupHost(string) []string { return []string{"192.0.2.7"} }
func (f *fakeDNS) Names(netip.Addr) []string  { f.asked++; return []string{"crawl-1.bot.example"} }

func TestMatchKnownBotNeedsProof(t *testing.T) {
	d := NewData()
	mustLoad(t, d, "b", "bots", `{"name":"goodbot","user_agent":"goodbot/\\d","paths":["^/pub"],"ips":["192.0.2.1"],"ranges":["2001:db8::/32"]}`+"\n"+
		`{"name":"named","user_agent":"named","rdns":["\\.bot\\.example$"]}`)
	dns := &fakeDNS{}
	match := function(t, TableWith(d, Options{Resolver: dns}), "MatchKnownBot")
	for _, c := range []struct {
		ip, agent, path string
		want            bool
	}{
		{"192.0.2.1", "GoodBot/2", "/pub/x", true}, {"[2001:db8::1]:443", "goodbot/2", "/pub", true}, {"::ffff:192.0.2.1", "goodbot/2", "/PUB", true},
		{"192.0.2.1", "goodbot/2", "/private", false}, {"192.0.2.1", "curl", "/pub", false}, {"192.0.2.2", "goodbot/2", "/pub", false},
		{"192.0.2.9", "named", "/", true}, {"nonsense", "named", "/", false},
	} {
		if got, err := match.Call(c.ip, c.agent, c.path, "b", "unknown"); err != nil || got != c.want {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if dns.asked != 1 {
		t.Errorf("the DNS was asked %d times", dns.asked)
	}
	if got, err := function(t, TableWith(d, Options{Resolver: dns}), "LookupHost").Call("a.example"); err != nil || !slices.Equal(got.([]string), []string{"192.0.2.7"}) {
		t.Errorf("LookupHost: %v, %v", got, err)
	}
}

func TestHubDataFilesLoad(t *testing.T) {
	d := NewData()
	for name, kind := range map[string]string{
		"bad_user_agents.regex.txt": "regexp", "rdns_seo_bots.regex": "regexp", "technology_probing.json": "map", "sensitive_data.txt": "string",
		"thinkphp_cve_2018-20062.txt": "regexp",
	} {
		if err := d.Load(name, filepath.Join(hub(t), "data", name), kind, LoadOptions{}); err != nil {
			t.Error(err)
		}
	}
	if !d.RegexpInFile("Mozilla/5.0 (compatible; 360Spider/1.0)", "bad_user_agents.regex.txt") {
		t.Error("a known bad user agent is not found")
	}
	for name, f := range d.regexps {
		t.Logf("%s: %d regexps, %d without a literal", name, len(f.set.all), len(f.set.always))
	}
}

func FuzzDataFiles(f *testing.F) {
	for _, s := range []string{"a\n#b\n\nc\r\n", `{"pattern":"a","tag":"t","type":"regex"}`, `{"name":"b","ips":["192.0.2.1"],"rdns":["x"]}`, "(?i)a|b\n\\bx\\b", "\xff\x00"} {
		f.Add(s, "text")
	}
	f.Fuzz(func(t *testing.T, file, s string) {
		for _, kind := range []string{"string", "regexp", "map", "bots"} {
			d := NewData()
			if load(t, d, "f", kind, file) != nil {
				continue
			}
			lines, _ := d.Lines("f")
			want := slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(s, l) })
			if got := d.ContainsAny("f", s); got != want {
				t.Errorf("ContainsAny of %q in %q is %v", lines, s, got)
			}
			d.LookupFile(s, "f")
			d.RegexpInFile(s, "f")
			d.matchKnownBot(&fakeDNS{}, "192.0.2.1", s, s, []string{"f"})
		}
	})
}
