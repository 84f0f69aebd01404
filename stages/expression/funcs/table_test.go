package funcs

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/expr-lang/expr"
)

// run compiles an expression with the whole table, as rules do, and runs it.
func run(t *testing.T, opts Options, src string, env map[string]any) (any, error) {
	t.Helper()
	options := []expr.Option{expr.Env(env)}
	for _, f := range TableWith(NewData(), opts) {
		options = append(options, expr.Function(f.Name, f.Call, f.Types...))
	}
	program, err := expr.Compile(src, options...)
	if err != nil {
		t.Fatalf("%s does not compile: %v", src, err)
	}
	return expr.Run(program, env)
}

func TestExpressionsAsRulesWriteThem(t *testing.T) {
	at := time.Date(2024, 3, 1, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		src  string
		want any
	}{
		{`Upper(line) contains "GET"`, true},
		{`Lower(TrimSpace(" A ")) == "a"`, true},
		{`any(File("none.txt"), {line contains #})`, false},
		{`UnmarshalJSON('{"a":[1]}', m, "j") in ["", nil] && m.j.a[0] == 1`, true},
		{`ParseKV("a=1", m, "kv") == nil && m.kv.a == "1"`, true},
		{`ParseKVLax("a=x y", m, "lax") == nil && m.lax.a == "x y"`, true},
		{`Split("a,b", ",")[-1]`, "b"},
		{`Sprintf("%v", int(1.0))`, "1"},
		{`MedianInterval(map(times, {#})) > duration("10m")`, true},
		{`AverageInterval(times) == duration("1h")`, true},
		{`Distance("48.85", "2.35", "40.71", "-74.0") > 5800`, true},
		{`len(FlattenDistinct(["a", ["b", "a"]], "b"))`, 2},
		{`len(Flatten([1, [2, [3]]]))`, 3},
		{`Get(Fields("a b"), 5)`, ""},
		{`KeyExists("x", m)`, false},
		{`Join(SplitN("a-b-c", "-", 2), "+")`, "a+b-c"},
		{`IPToCountry("192.0.2.1")`, ""},
		{`GeoIPEnrich("192.0.2.1") == nil`, true},
		{`ParseUri("/p?a=1&a=2")["a"][1]`, "2"},
		{`ExtractQueryParam("/p?a=%zz+%41;x&b=2", "a")[0]`, "%zz A;x"},
		{`len(ExtractQueryParam("a=1", "a"))`, 0},
		{`ParseQuery("a=1")["a"][0]`, "1"},
		{`JsonExtractLib('{"a":{"b":"c"}}', "a", "b")`, "c"},
		{`JsonExtractUnescape('{"a":{"b":"c\\n"}}', "a", "b")`, "c\n"},
		{`JsonExtractSlice('{"a":[1,2]}', "a")[1]`, 2.0},
		{`JsonExtractObject('{"a":{"b":1}}', "a").b`, 1.0},
		{`JsonExtractSlice('{"a":{}}', "a") == nil`, true},
		{`ToJsonString({"a": 1}) + ToJson([1])`, `{"a":1}[1]`},
		{`ParseUnix("1700000000.5")`, "2023-11-14T22:13:20Z"},
		{`ParseUnix("soon")`, ""},
		{`Atof("1.5") + Atof("x")`, 1.5},
		{`FloatApproxEqual(0.1 + 0.2, 0.3)`, true},
		{`LogInfo("%s", line)`, true},
		{`LibInjectionIsSQLI("1' OR '1'='1")`, true},
		{`LibInjectionIsXSS("<script>alert(1)</script>")`, true},
		{`MatchKnownBot("192.0.2.1", "curl", "/", "none.json")`, false},
		{`len(FileMap("none.json"))`, 0},
		{`LookupFile(line, "none.json")`, ""},
	} {
		env := map[string]any{"line": "get /", "m": map[string]any{}, "times": []time.Time{at, at.Add(2 * time.Hour), at.Add(time.Hour)}}
		got, err := run(t, Options{}, c.src, env)
		if err != nil || got != c.want {
			t.Errorf("%s is %#v, %v; want %#v", c.src, got, err, c.want)
		}
	}
}

func TestFailuresAreErrorsNotPanics(t *testing.T) {
	for _, src := range []string{
		`UnmarshalJSON("{", m, "j")`, `ParseKV("no pairs", m, "kv")`, `B64Decode("%")`, `Distance("x", "1", "1", "1")`,
		`MedianInterval([])`, `AverageInterval(["a", "b"])`, `CrowdsecCTI("192.0.2.1")`, `HTTPGet("http://192.0.2.1")`,
		`Upper(m.missing)`, `ParseKV(m.missing, m, "kv")`, `ParseKV("a=1", m, "taken")`, `ParseUnixTime("-1")`,
	} {
		env := map[string]any{"m": map[string]any{"taken": "text"}}
		if got, err := run(t, Options{}, src, env); err == nil {
			t.Errorf("%s is %v, want an error", src, got)
		} else if _, taken := env["m"].(map[string]any)["kv"]; taken {
			t.Errorf("%s failed and wrote", src)
		}
	}
}

func TestEveryHelperRefusesWrongArguments(t *testing.T) {
	for _, f := range Table(NewData()) {
		if f.Name == "LookupHost" {
			continue
		}
		for n := range 5 {
			args := make([]any, n)
			for i := range args {
				args[i] = struct{ X []int }{}
			}
			f.Call(args...) // must not panic
			clear(args)
			f.Call(args...)
		}
	}
}

func TestTableIsSortedAndDeclaresItsForms(t *testing.T) {
	table := Table(NewData())
	if !slices.IsSortedFunc(table, func(a, b Function) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the table is not sorted by name")
	}
	for i, f := range table {
		if i > 0 && table[i-1].Name == f.Name {
			t.Errorf("%s is there twice", f.Name)
		}
		fast := f.String1 != nil || f.String2 != nil || f.Bool1 != nil || f.Bool2 != nil
		if fast && (!f.Pure || f.Writes || f.Outside) {
			t.Errorf("%s has a fast form but is not pure", f.Name)
		}
		if f.Pure && (f.Writes || f.Outside) {
			t.Errorf("%s cannot be pure", f.Name)
		}
	}
	for _, name := range []string{"Upper", "Lower", "TrimSpace", "PathUnescape", "QueryUnescape"} {
		if function(t, table, name).String1 == nil {
			t.Errorf("%s has no fast form", name)
		}
	}
	for _, name := range []string{"UnmarshalJSON", "ParseKV", "ParseKVLax"} {
		if !function(t, table, name).Writes {
			t.Errorf("%s must declare that it writes", name)
		}
	}
}

type fakeGeo struct{}

func (fakeGeo) City(a netip.Addr) (*City, error) {
	if a.Is6() {
		return nil, nil
	}
	c := &City{}
	c.Country.IsoCode = "NL"
	return c, nil
}
func (fakeGeo) ASN(netip.Addr) (*ASN, error) { return nil, errors.New("the database is damaged") }
func (fakeGeo) Network(netip.Addr) (*net.IPNet, error) {
	_, n, err := net.ParseCIDR("192.0.2.0/24")
	return n, err
}

func TestGeoHelpersAskTheReader(t *testing.T) {
	opts := Options{Geo: fakeGeo{}}
	for _, c := range []struct {
		src  string
		want any
	}{
		{`GeoIPEnrich("192.0.2.1").Country.IsoCode`, "NL"},
		{`GeoIPEnrich("2001:db8::1") == nil`, true},
		{`IPToCountry("::ffff:192.0.2.1")`, "NL"},
		{`GeoIPRangeEnrich("192.0.2.1").String()`, "192.0.2.0/24"},
	} {
		if got, err := run(t, opts, c.src, nil); err != nil || got != c.want {
			t.Errorf("%s is %v, %v; want %v", c.src, got, err, c.want)
		}
	}
	for _, src := range []string{`GeoIPASNEnrich("192.0.2.1")`, `GeoIPEnrich("nonsense")`} {
		if _, err := run(t, opts, src, nil); err == nil {
			t.Errorf("%s: want an error", src)
		}
	}
}

// plainMatch is the recursion that Match must equal.
func plainMatch(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	if name == "" {
		return pattern == "*"
	}
	if pattern[0] == '*' {
		for i := 0; i <= len(name); i++ {
			if plainMatch(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	return (pattern[0] == '?' || pattern[0] == name[0]) && plainMatch(pattern[1:], name[1:])
}

func TestMatchEqualsRecursion(t *testing.T) {
	patterns, names := words("ab*?", 5), words("ab", 5)
	for _, p := range patterns {
		for _, n := range names {
			if got, want := Match(p, n), plainMatch(p, n); got != want {
				t.Fatalf("Match(%q, %q) is %v, want %v", p, n, got, want)
			}
		}
	}
	if Match(strings.Repeat("*a", 50), strings.Repeat("b", 10_000)) {
		t.Error("a pattern of many stars matches what it should not")
	}
}

// words returns all texts of up to n letters of an alphabet.
func words(alphabet string, n int) []string {
	all, last := []string{""}, []string{""}
	for range n {
		var longer []string
		for _, w := range last {
			for _, c := range alphabet {
				longer = append(longer, w+string(c))
			}
		}
		all, last = append(all, longer...), longer
	}
	return all
}

func TestRangesAreReadAsTheStandardLibraryDoes(t *testing.T) {
	inRange := function(t, Table(NewData()), "IpInRange").Bool2
	ips := []string{"10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "fe80::1%eth0", "::", "0.0.0.0", "x", "", "010.1.2.3", "::ffbf:0:0"}
	ranges := []string{
		"10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:10.0.0.0/104", "::ffff:0:0/90",
		"::ffff:10.0.0.0/96", "10.0.0.0", "10.0.0.0/33", "x/8", "", "fe80::%eth0/10",
	}
	for _, ip := range ips {
		for _, r := range ranges {
			_, n, err := net.ParseCIDR(r)
			want := err == nil && net.ParseIP(ip) != nil && n.Contains(net.ParseIP(ip))
			if got := inRange(ip, r); got != want {
				t.Errorf("IpInRange(%q, %q) is %v, want %v", ip, r, got, want)
			}
		}
	}
}

func TestHelpersServeManyGoroutines(t *testing.T) {
	d := NewData()
	mustLoad(t, d, "words", "string", "admin\nsecret")
	mustLoad(t, d, "patterns", "regexp", `\badmin\b`+"\nx[0-9]+y\n^.?$")
	table := Table(d)
	xml, extract := function(t, table, "XMLGetNodeValue").String2, function(t, table, "JsonExtract").String2
	inRange := function(t, table, "IpInRange").Bool2
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			text := strings.Repeat("v", n+1)
			for range 200 {
				if xml("<a><b>"+text+"</b></a>", "/a/b") != text || extract(`{"a":"`+text+`"}`, "a") != text ||
					!inRange("192.0.2.1", "192.0.2.0/24") || !d.ContainsAny("words", text+"admin") || !d.RegexpInFile("x1y", "patterns") {
					t.Errorf("goroutine %d reads what another one asked", n)
					return
				}
			}
		})
	}
	group.Wait()
}
