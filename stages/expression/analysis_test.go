package expression

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sluice/pipeline"
)

func TestConditionsThatMustHold(t *testing.T) {
	data := words(t)
	kinds := map[ConjunctOp]string{Equals: "==", Contains: "contains", StartsWith: "startsWith", EndsWith: "endsWith"}
	for src, want := range map[string]string{
		`evt.Meta.a == 'x' || evt.Meta.a == 'y'`:                                                             `evt.Meta.a == [x y]`,
		`evt.Meta.a == 'x' || evt.Meta.b == 'y'`:                                                             ``,
		`evt.Meta.a == 'x' || evt.Meta.a contains 'y'`:                                                       `evt.Meta.a contains [x y]`,
		`evt.Meta.a startsWith 'x' || evt.Meta.a endsWith 'y'`:                                               `evt.Meta.a contains [x y]`,
		`evt.Meta.a startsWith 'x' || evt.Meta.a == ''`:                                                      ``,
		`(evt.Meta.a == 'x' && evt.Meta.b == '1') || (evt.Meta.c == '2' && evt.Meta.a=='y')`:                 `evt.Meta.a == [x y]`,
		`'x' == evt.Meta.a and not (evt.Meta.b == 'y')`:                                                      `evt.Meta.a == [x]`,
		`Upper(evt.Meta.a) contains Upper('x')`:                                                              `Upper(evt.Meta.a) contains [X]`,
		`evt.Meta.a contains ''`:                                                                             ``,
		`evt.Meta.a matches '^(?:foo|ba+r)[0-9]'`:                                                            `evt.Meta.a contains [b foo]`,
		`evt.Meta.a matches '(?i)foo'`:                                                                       ``,
		`evt.Unmarshaled.a == 'x' && evt.Meta.b == 'y'`:                                                      `evt.Meta.b == [y]`,
		`evt.Meta.a == 'x' && evt.SetMeta('b', 'y') && evt.Meta.b == 'y'`:                                    `evt.Meta.a == [x]`,
		`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, 'j') == nil && evt.Meta.a == 'x'`:                      ``,
		`evt.Meta.a == 'x' ? evt.Meta.b == 'y' : false`:                                                      `evt.Meta.a == [x]; evt.Meta.b == [y]`,
		`evt.Meta.a == 'x' ? evt.Meta.b == 'y' : true`:                                                       ``,
		`let u = Upper(evt.Meta.a); u == 'X'`:                                                                `Upper(evt.Meta.a) == [X]`,
		`any(File('words.txt'), {evt.Meta.a endsWith #}) && evt.Meta.b == 'y'`:                               `evt.Meta.a endsWith [abc abcd abd admin q x z9 /wp-login Ét]; evt.Meta.b == [y]`,
		`any(File('words.txt'), {evt.Meta.a contains # ? evt.SetMeta('w', #) : false}) && evt.Meta.b == 'y'`: `evt.Meta.a contains [abc abcd abd admin q x z9 /wp-login Ét]`,
		`evt.Meta.a == 'x' || 1 == 2`:                                                                        `evt.Meta.a == [x]`,
		`evt.Meta.a == 'x' || 1 == 1`:                                                                        ``,
	} {
		c := NewCompiler(pipeline.NewSchema(), data, Options{})
		p, err := c.CompileFilter(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		var got []string
		for _, cj := range p.Analysis().Conjuncts {
			got = append(got, fmt.Sprintf("%s %s %v", cj.Operand.Text, kinds[cj.Op], cj.Literals))
		}
		if !sameWords(strings.Join(got, "; "), want) {
			t.Errorf("%s\ngives %s\nwant  %s", src, strings.Join(got, "; "), want)
		}
	}
}

// sameWords compares texts but for the order of the words: that of a list of literals says nothing.
func sameWords(a, b string) bool {
	count := make(map[string]int)
	for w := range strings.FieldsFuncSeq(a, func(r rune) bool { return strings.ContainsRune(" []", r) }) {
		count[w]++
	}
	for w := range strings.FieldsFuncSeq(b, func(r rune) bool { return strings.ContainsRune(" []", r) }) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestWhatProgramsReadAndDo(t *testing.T) {
	for src, want := range map[string]string{
		`evt.Parsed.a + evt.Line.Raw`:                     "evt.Line.Raw evt.Parsed.a",
		`"a" in evt.Meta`:                                 "evt.Meta.a",
		`evt.Line.Labels.type`:                            "evt.Line.Labels.type",
		`evt.Unmarshaled.a == 'x'`:                        "unmarshaled",
		`evt.Meta[evt.Parsed.k]`:                          "evt.Parsed.k whole",
		`len(evt.Parsed)`:                                 "whole",
		`evt.GetType() == 'overflow'`:                     "overflow",
		`evt.Overflow.Alert.Remediation`:                  "overflow",
		`evt.GetMeta('a') == 'x'`:                         "evt.Meta.a overflow",
		`evt.SetMeta('a', 'b')`:                           "writes",
		`ParseKV(evt.Line.Raw, evt.Unmarshaled, 'k')`:     "evt.Line.Raw unmarshaled writes",
		`GetFromStash('s', evt.Parsed.k)`:                 "evt.Parsed.k stash",
		`GetDecisionsCount(evt.Meta.source_ip) > 1`:       "evt.Meta.source_ip outside",
		`$env["evt"].Meta.a == 'x'`:                       "evt.Meta.a whole unmarshaled overflow",
		`TimeNow() == ''`:                                 "outside",
		`false`:                                           "never",
		`evt.Meta.a == 'x' && 'a' == 'b'`:                 "never",
		`evt.SetMeta('a', 'b') && evt.Meta.a in [] `:      "evt.Meta.a writes",
		`any([1], {# == 1}) && evt.Time.Hour() > 3`:       "",
		`evt.StrTime == '' || evt.MarshaledTime != "now"`: "evt.MarshaledTime evt.StrTime",
	} {
		c, schema := newTest(t, Options{})
		p, err := c.Compile(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		a := p.Analysis()
		var got []string
		for _, s := range a.Reads {
			got = append(got, schema.Field(s).String())
		}
		for name, is := range map[string]bool{
			"unmarshaled": a.ReadsUnmarshaled, "whole": a.ReadsWhole, "overflow": a.Overflow, "stash": a.Stash,
			"writes": a.Writes, "outside": a.Outside, "never": a.ConstFalse,
		} {
			if is {
				got = append(got, name)
			}
		}
		if !sameWords(strings.Join(got, " "), want) {
			t.Errorf("%s: %v, want %s", src, got, want)
		}
	}
}

// TestProgramsServeManyGoroutines is for the race detector.
func TestProgramsServeManyGoroutines(t *testing.T) {
	data := words(t)
	schema := pipeline.NewSchema()
	c := NewCompiler(schema, data, Options{})
	var programs []*Program
	for _, src := range tricky {
		p, err := c.CompileFilter(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		programs = append(programs, p)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			ctx := &Context{}
			for range 20 {
				for _, p := range programs {
					ctx.Event = event(schema)
					_, _ = p.Bool(ctx)
					_, _, _ = p.Text(ctx)
				}
			}
		})
	}
	wg.Wait()
}
