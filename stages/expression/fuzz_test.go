package expression

import (
	"errors"
	"math/rand/v2"
	"testing"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// FuzzCompile feeds the compiler any source: it answers with a program or an
// *Error, and a program runs without a panic on any event.
func FuzzCompile(f *testing.F) {
	for _, src := range tricky {
		f.Add(src, uint64(1))
	}
	for _, src := range []string{"", "(", "evt.", "evt.Meta[", "let", "#", "{", "'", "evt.Meta.a matches '('", "a b", "\xff", "1/0 == 1", "evt.Meta.a ..", "any(evt", "if x {"} {
		f.Add(src, uint64(2))
	}
	f.Fuzz(func(t *testing.T, src string, seed uint64) {
		schema := pipeline.NewSchema()
		p, err := NewCompiler(schema, funcs.NewData(), Options{}).CompileFilter(src)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Message == "" {
				t.Fatalf("%q: %#v is not an *Error with a place", src, err)
			}
			return
		}
		if p.Analysis().Outside {
			return // it would ask the network
		}
		d, err := newDiffer(src, funcs.NewData())
		if err != nil {
			t.Fatalf("%q compiles, but not for the plain VM: %v", src, err)
		}
		r := rand.New(rand.NewPCG(seed, 3))
		for range 4 {
			if problem := d.compare(r); problem != "" {
				t.Fatalf("%s\n%s", src, problem)
			}
		}
	})
}

// FuzzCompiled runs fixed expressions on fields that hold any text.
func FuzzCompiled(f *testing.F) {
	data := words(f)
	differs := make([]*differ, len(tricky))
	for i, src := range tricky {
		d, err := newDiffer(src, data)
		if err != nil {
			f.Fatal(err)
		}
		differs[i] = d
	}
	f.Add(uint64(1), "x", "192.0.2.1")
	f.Add(uint64(2), "\xff\xfe", "::ffff:192.0.2.1%eth0")
	f.Add(uint64(3), "abcd", "10")
	f.Fuzz(func(t *testing.T, seed uint64, a, b string) {
		d := differs[seed%uint64(len(differs))]
		base := d.maker.literals
		defer func() { d.maker.literals, d.maker.extra = base, nil }()
		d.maker.literals, d.maker.extra = append(base[:len(base):len(base)], a, b), []string{a, b}
		r := rand.New(rand.NewPCG(seed, 4))
		for range 3 {
			if problem := d.compare(r); problem != "" {
				t.Fatalf("%s\n%s", d.src, problem)
			}
		}
	})
}
