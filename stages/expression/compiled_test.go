package expression

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// tricky are expressions in which the compiled form could go astray.
var tricky = []string{
	`evt.Parsed.a`, `evt.Parsed["a b"]`, `evt.Parsed['a'] + "/" + evt.Meta.b`, `evt?.Meta?.a`, `evt.Meta?.a == 'x'`,
	`"a" in evt.Meta`, `"a" not in evt.Parsed`, `not ("a" in evt.Line.Labels)`, `evt.Meta.k in evt.Meta`, `evt.Parsed.a in evt.Meta`,
	`evt.Meta[evt.Parsed.k]`, `evt.Parsed[evt.Unmarshaled.k] == 'v'`, `len(evt.Meta)`, `len(keys(evt.Meta)) > 1`, `get(evt.Meta, "a") == 'x'`,
	`evt.Meta == nil`, `evt.Unmarshaled == nil`, `evt.Unmarshaled != nil && len(evt.Unmarshaled) == 0`,
	`evt.Unmarshaled.a.b.c == 'x'`, `evt.Unmarshaled.a.b.c != 'x'`, `evt.Unmarshaled.a?.b == nil`, `evt.Unmarshaled?.a`, `evt.Unmarshaled?.a?.b.c`,
	`evt.Unmarshaled.a.b == nil || evt.Unmarshaled.a.b == ''`, `evt.Unmarshaled.a.k in ['x', 'y']`, `evt.Unmarshaled.a.k in ['', nil]`, `evt.Unmarshaled.a.k in []`,
	`evt.Unmarshaled.n > 400`, `evt.Unmarshaled.n == 200`, `evt.Unmarshaled.n == true`, `evt.Unmarshaled.n`, `not evt.Unmarshaled.n`,
	`evt.Unmarshaled.n && evt.Meta.a == 'x'`, `evt.Meta.a == 'x' && evt.Unmarshaled.n`, `evt.Unmarshaled.a contains 'x'`, `evt.Unmarshaled.a startsWith 'x' or evt.Meta.a == 'z'`,
	`evt.Unmarshaled.a matches '^x+$'`, `not (evt.Unmarshaled.a.b == 'x')`, `evt.Unmarshaled["a"]["b"]`, `evt.Unmarshaled.list[0]`, `any(evt.Unmarshaled.list, {# == 'x'})`,
	`evt.Unmarshaled.a == evt.Meta.a`, `'x' == evt.Unmarshaled.a`, `evt.Unmarshaled.a == evt.Unmarshaled.b`,
	`Upper(evt.Meta.a) == Upper('x')`, `Lower(Upper(evt.Meta.a)) contains Lower('X')`, `Upper(evt.Meta.a + 'x') endsWith 'X'`, `Upper(evt.Unmarshaled.a) == 'X'`,
	`evt.Meta.a == nil`, `evt.Meta.a != nil and evt.Meta.b not in ['', nil]`, `nil == evt.Meta.a`,
	`evt.Meta.a matches '(?i)wp-(login|admin)'`, `evt.Meta.a matches evt.Meta.b`, `evt.Meta.a matches 'abc|x+y|[0-9]z'`, `evt.Meta.a matches "k\\xffk"`, `evt.Meta.a matches '.*'`, `evt.Meta.a matches '^(?:xyz){0,2}x*$'`, `evt.Meta.a matches '^(?:x|)y?$'`, `let t = int(evt.Meta.n) > 3; evt.Meta.a == 'x' && t`, `let q = JsonExtract(evt.Line.Raw, evt.Meta.a) + B64Decode(evt.Meta.b); evt.Meta.a == 'x' || q == 'y'`,
	`len(evt.Meta.a) == 3`, `len(evt.Meta.a) > len(evt.Meta.b)`, `int(evt.Meta.n) > 5`, `int(evt.Meta.n) == 10 || evt.Meta.a == 'x'`, `evt.Meta.a == 'x' || int(evt.Meta.n) > 5`,
	`1 == 1`, `1==1 && evt.Meta.a == 'x'`, `0 == 1`, `true`, `false`, `'a' == 'b'`, `not (1 == 2)`, `1 == 1.0`, `"a" < "b"`,
	`evt.Meta.a == 'x' ? evt.Meta.b == 'y' : evt.Meta.c == 'z'`, `evt.Meta.a == 'x' ? 'A' : evt.Meta.b`, `evt.Meta.a == 'x' ? nil : 1`, `(evt.Meta.a == 'x' ? 'A' : 'B') == 'A'`,
	`if evt.Meta.a == 'x' { evt.Meta.b == 'y' } else { false }`, `if evt.Meta.a == 'x' { let q = Upper(evt.Meta.b); q == 'Y' } else { false }`,
	`let a = evt.Meta.a; let b = a + 'y'; b == 'xy' || a == 'z'`, `let n = int(evt.Meta.n); evt.Meta.a == 'x' && n > 3`, `let t = evt.Meta.a == 'x'; t && not t`,
	`let a = evt.Meta.a; evt.SetMeta('a', 'new') && a == 'x'`, `let a = evt.Meta.a; a == 'x' ? evt.SetMeta('b', a) : false`,
	`let v = evt.Unmarshaled.a.b; v == 'x'`, `(let a = evt.Meta.a; a == 'x') && (let a = evt.Meta.b; a == 'y')`,
	`evt.SetMeta('a', 'x') && evt.Meta.a == 'x'`, `evt.Meta.a == 'x' && evt.SetMeta('b', 'y') && evt.Meta.b == 'y'`, `evt.SetParsed("p", evt.Meta.a) and false or evt.Parsed.p == 'x'`,
	`evt.SetMeta('a', evt.Unmarshaled.a) || evt.Meta.a == 'x'`, `evt.SetMeta('q', 'v') && len(evt.Meta) == 3`,
	`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, 'j') in ['', nil] && evt.Unmarshaled.j.a == 'x'`, `evt.Meta.a == 'x' && UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, 'j') == nil`,
	`not (UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, 'j') == nil)`, `UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, '') != nil or evt.Unmarshaled.a == 'x'`,
	`JsonExtract(evt.Line.Raw, "a.b") == 'x'`, `JsonExtract(evt.Line.Raw, 'a')`, `Sprintf("%s-%v", evt.Meta.a, evt.Unmarshaled.a)`, `B64Decode(evt.Meta.a) == 'x' || true`,
	`IpInRange(evt.Meta.source_ip, "192.0.2.0/24")`, `IpInRange(evt.Meta.source_ip, "::ffff:192.0.2.0/120")`, `IpInRange(evt.Meta.source_ip, 'nonsense')`, `IpInRange(evt.Meta.source_ip, evt.Meta.b)`,
	`IsIPV6(evt.Meta.source_ip)`, `IsIP(evt.Meta.source_ip) && not IsIPV6(evt.Meta.source_ip)`, `IpToRange(evt.Meta.source_ip, '/24') == '192.0.2.0/24'`,
	`Match('x*', evt.Meta.a)`, `evt.GetMeta('a') == 'x'`, `evt.GetMeta(evt.Meta.b)`, `evt.GetType() == 'overflow'`, `evt.Type == 1`, `evt.Whitelisted`, `not evt.Whitelisted && evt.Meta.a == 'x'`,
	`evt.Overflow.Alert.Remediation == true`, `evt.Overflow.Alert != nil && evt.Overflow.Alert.Source.IP in ['192.0.2.7']`, `evt.Overflow.Whitelisted`, `evt.Overflow.GetSources()`, `evt.Overflow.Alert.GetScope() == 'Ip'`,
	`evt.Time.Hour() >= 18 || evt.Time.Weekday().String() == 'Saturday'`, `evt.Line.Time == evt.Time`, `evt.StrTime + evt.StrTimeFormat`, `evt.Line.Src startsWith '/var'`,
	`any(File('words.txt'), {evt.Meta.a contains #})`, `any(File('words.txt'), {Upper(evt.Meta.a) contains Upper(#)})`, `any(File('words.txt'), {len(#) > 0 && evt.Meta.a endsWith #})`,
	`any(File('words.txt'), {evt.Meta.a == #})`, `any(File('words.txt'), {evt.Meta.a contains # ? evt.SetMeta('hit', #) : false})`, `any(File('words.txt'), {evt.Meta.a contains # && evt.Meta.b == 'y'})`,
	`any(File('words.txt'), {# contains evt.Meta.a})`, `any(File('none.txt'), {evt.Meta.a contains #})`, `evt.Meta.a in File('words.txt')`, `evt.Unmarshaled.a in File('words.txt')`, `all(File('words.txt'), {evt.Meta.a contains #})`,
	`any(File('words.txt'), {int(evt.Meta.n) > 3 && evt.Meta.a contains #})`, `none(File('words.txt'), {evt.Meta.a contains #})`,
	`any(["x", "y"], {# == evt.Meta.a}) or evt.Meta.b == 'z'`, `any(File('words.txt'), {evt.Meta.a contains #}) || any(File('words.txt'), {Upper(evt.Meta.b) contains Upper(#)}) or any(File('words.txt'), {evt.Meta.c endsWith #})`, `any(File('words.txt'), {evt.Meta.a contains #}) || any(File('words.txt'), {int(evt.Meta.b) > len(#)})`, `all(File('words.txt'), {# != evt.Meta.a}) and all(File('words.txt'), {int(evt.Meta.b) > len(#)})`, `evt.SetMeta('k', 'v') && 1 == 2`, `1 == 1 && evt.SetMeta('k', 'v')`, `not (2 == 2) || evt.Meta.a == 'x'`, `(evt.SetMeta('k', 'v') && false) == false && evt.Meta.a == 'x'`, `filter(["x", "y"], {# == evt.Meta.a}) | len() == 1`,
	`evt.Meta.a == 'x' || evt.Unmarshaled.no.no == 'y'`, `evt.Unmarshaled.no.no == 'y' || evt.Meta.a == 'x'`, `!(evt.Unmarshaled.no.no == 'y')`, `evt.Meta.a == 'x' and not (evt.Unmarshaled.no.no contains 'y')`,
	`evt.Appsec.HasInBandMatches == true || evt.Appsec.GetName() == ''`, `Sprintf("%v", evt.Appsec.GetRuleIDs())`,
	`evt.Meta.a ?? 'q'`, `evt.Unmarshaled.a ?? 'q'`, `evt.Meta.a[0:1] == 'x'`, `evt.Meta.a | Upper() == 'X'`, `split(evt.Meta.a, "")`, `trim(evt.Meta.a) == 'x'`, `upper(evt.Meta.a) == 'X'`,
	`evt.Meta.a + evt.Unmarshaled.a`, `evt.Meta.a == 'x' == true`, `evt.Meta.a in ['x', evt.Meta.b]`, `evt.Meta.a in ['a', 'b', 'c', 'd', 'e', 'x']`, `[evt.Meta.a, 'b']`, `{"k": evt.Meta.a}`,
	`Distance('1','1',evt.Meta.a,'2') > 1.5 || evt.Meta.b == 'x'`, `evt.Process`, `evt.Stage == ''`, `$env["evt"].Meta.a == 'x'`, `evt`, `evt.Line`, `evt.Line.Labels.type == 'x'`, `evt.Line.Labels`,
}

func words(t testing.TB) *funcs.Data {
	t.Helper()
	data := funcs.NewData()
	file := filepath.Join(t.TempDir(), "words.txt")
	if err := os.WriteFile(file, []byte("x\n# no\n\nadmin\n/wp-login\nz9\nabc\nabd\nabcd\nÉt\nq\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := data.Load("words.txt", file, "string", funcs.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCompiledEqualsReference holds expressions of our own to the plain VM.
func TestCompiledEqualsReference(t *testing.T) {
	data := words(t)
	for i, src := range tricky {
		d, err := newDiffer(src, data)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		d.maker.literals = append(d.maker.literals, "x", "y", "z", "xy", "X", "200", "b", "k", "::ffff:192.0.2.5", "192.0.2.5%eth0")
		r := rand.New(rand.NewPCG(2, uint64(i)))
		for range 300 {
			if problem := d.compare(r); problem != "" {
				t.Errorf("%s\n%s", src, problem)
				break
			}
		}
	}
}

func TestMistakesSayWhere(t *testing.T) {
	for name, c := range map[string]struct {
		src          string
		line, column int
		message      string
		suggestion   string
	}{
		"an unknown helper":        {"evt.Meta.a == 'x' &&\n  Uper(evt.Meta.b) == 'y'", 2, 3, "there is no helper or name \"Uper\"", "Upper"},
		"an unknown name":          {"event.Meta.a == 'x'", 1, 1, "there is no helper or name \"event\"", "evt"},
		"an unknown field":         {"evt.Mta.a == 'x'", 1, 5, "there is no field or method \"Mta\" here", "Meta"},
		"a missing operand":        {"evt.Meta.a ==", 1, 13, "unexpected token EOF", ""},
		"a number beside a text":   {"evt.Meta.a > 3", 1, 12, "invalid operation", ""},
		"a field of a text":        {"evt.Meta.a.b == 'x'", 1, 12, "there is no field or method \"b\" here", ""},
		"too few arguments":        {"IpInRange(evt.Meta.a)", 1, 1, "not enough arguments to call IpInRange", ""},
		"too few for the context":  {"GetFromStash('s')", 1, 1, "not enough arguments to call GetFromStash", ""},
		"an open string":           {"evt.Meta.a == 'x", 1, 17, "literal not terminated", ""},
		"a bad regular expression": {"evt.Meta.a matches '('", 1, 12, "missing closing )", ""},
	} {
		for _, o := range []Options{{}, {Reference: true}} {
			_, err := NewCompiler(pipeline.NewSchema(), funcs.NewData(), o).Compile(c.src)
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v, want an *Error", name, err)
				continue
			}
			if e.Line != c.line || e.Column != c.column || !strings.Contains(e.Message, c.message) || e.Suggestion != c.suggestion {
				t.Errorf("%s: %d:%d %q, suggestion %q", name, e.Line, e.Column, e.Message, e.Suggestion)
			}
			if !strings.Contains(c.src, e.Snippet) || e.Snippet == "" {
				t.Errorf("%s: snippet %q", name, e.Snippet)
			}
			if strings.Contains(err.Error(), "sluice_") {
				t.Errorf("%s: the message speaks of what the patcher put in: %s", name, err)
			}
		}
	}
}

func TestHugeSourcesAreRefused(t *testing.T) {
	c := NewCompiler(pipeline.NewSchema(), funcs.NewData(), Options{})
	for name, src := range map[string]string{
		"a megabyte of brackets":  strings.Repeat("(", 1<<20),
		"many brackets":           strings.Repeat("(", 200_000),
		"many closed brackets":    strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000),
		"lists in lists":          strings.Repeat("[", 100_000),
		"maps in maps":            strings.Repeat("{a:", 50_000),
		"many nots":               strings.Repeat("not ", 60_000) + "true",
		"many signs":              strings.Repeat("!", 200_000) + "true",
		"calls in calls":          strings.Repeat("Upper(", 40_000),
		"too many operands":       strings.Repeat("1+", 100_000) + "1",
		"ternaries in ternaries":  strings.Repeat("true?", 50_000),
		"a long chain of members": "evt" + strings.Repeat(".a", 100_000),
		"lets without end":        strings.Repeat("let a=1;", 30_000) + "a",
	} {
		var e *Error
		if _, err := c.Compile(src); !errors.As(err, &e) {
			t.Errorf("%s: %v, want an *Error", name, err)
		}
	}
	deep := strings.Repeat("(", 400) + "evt.Meta.a == 'x'" + strings.Repeat(")", 400)
	if _, err := c.Compile(deep); err != nil {
		t.Errorf("a nesting that is bearable: %v", err)
	}
	long := "evt.Meta.a == 'x'" + strings.Repeat(" || evt.Meta.a == 'y'", 1200)
	p, err := c.Compile(long)
	if err != nil {
		t.Fatal(err)
	}
	if cj := p.Analysis().Conjuncts; len(cj) != 1 || len(cj[0].Literals) != 2 {
		t.Errorf("conjuncts of a long chain: %+v", cj)
	}
}

type fakeStash map[string]string

func (s fakeStash) Get(name, key string) (string, bool) { v, ok := s[name+"/"+key]; return v, ok }
func (s fakeStash) Set(name, key, value string, ttl time.Duration) error {
	if ttl < 0 {
		return errors.New("negative")
	}
	s[name+"/"+key] = value
	return nil
}

type fakeDecisions struct{}

func (fakeDecisions) Count(v string) (int, error)                       { return len(v), nil }
func (fakeDecisions) SinceCount(_ string, d time.Duration) (int, error) { return int(d.Hours()), nil }
func (fakeDecisions) ActiveCount(string) (int, error)                   { return 0, errors.New("unreachable") }
func (fakeDecisions) ActiveTimeLeft(string) (time.Duration, error)      { return time.Hour, nil }

func TestContextFunctions(t *testing.T) {
	for _, c := range []struct {
		src           string
		want, fails   bool
		stash, beyond bool
	}{
		{`SetInStash('s', evt.Meta.source_ip, 'v', duration('1m')) == nil && GetFromStash('s', '192.0.2.1') == 'v'`, true, false, true, false},
		{`GetFromStash('s', 'absent') == ''`, true, false, true, false},
		{`SetInStash('s', 'k', 'v', duration('-1m')) == nil`, false, true, true, false},
		{`SetInStash('s', 'k', 'v', nil) == nil && evt.Meta.source_ip == '192.0.2.1'`, true, false, true, false},
		{`GetDecisionsCount('abc') == 3`, true, false, false, true},
		{`GetDecisionsSinceCount('abc', '2d') == 48`, true, false, false, true},
		{`GetDecisionsSinceCount('abc', 'soon') == 0`, true, false, false, true},
		{`GetActiveDecisionsCount('abc') == 0`, false, true, false, true},
		{`GetActiveDecisionsTimeLeft('abc') > duration('30m')`, true, false, false, true},
	} {
		for _, o := range []Options{{}, {Reference: true}} {
			compiler, schema := newTest(t, o)
			p, err := compiler.Compile(c.src)
			if err != nil {
				t.Errorf("%s: %v", c.src, err)
				continue
			}
			ctx := &Context{Event: event(schema), Stash: fakeStash{}, Decisions: fakeDecisions{}}
			got, err := p.Bool(ctx)
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("%s: %v, %v", c.src, got, err)
			}
			if a := p.Analysis(); a.Stash != c.stash || a.Outside != c.beyond {
				t.Errorf("%s: analysis %+v", c.src, a)
			}
		}
	}
}

func TestAbsentServicesAnswerNothing(t *testing.T) {
	compiler, schema := newTest(t, Options{})
	p, err := compiler.Compile(`GetFromStash('s', 'k') == '' && GetDecisionsCount('x') == 0 && GetActiveDecisionsTimeLeft('x') == duration('0s') && SetInStash('s', 'k', 'v', nil) == nil`)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Bool(&Context{Event: event(schema)}); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
}
