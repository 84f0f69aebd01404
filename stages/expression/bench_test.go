package expression

import (
	"testing"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// benchmarked are filters of the kinds that rules are made of. allocates says
// which may allocate: those that need the VM.
var benchmarked = []struct {
	name, src string
	allocates bool
}{
	{"equal", `evt.Parsed.program == 'sshd'`, false},
	{"in list", `evt.Meta.source_ip in ['a', 'b', 'c', 'd', 'e', 'f', '192.0.2.1']`, false},
	{"upper contains", `Upper(evt.Meta.http_path) contains Upper('/wp-login')`, false},
	{"three clauses", `evt.Meta.service == 'http' && evt.Meta.log_type in ['http_access-log', 'http_error-log'] && evt.Parsed.verb == 'POST'`, false},
	{"in range", `IpInRange(evt.Meta.source_ip, '192.0.2.0/24')`, false},
	{"regexp", `evt.Meta.http_path matches '(?:GET|POST) /x[0-9]+'`, false},
	{"unmarshaled", `evt.Unmarshaled.j.s == 'text'`, false},
	{"machine", `len(Split(evt.Meta.http_path, '/')) > 2`, true},
}

func BenchmarkFilter(b *testing.B) {
	for _, bm := range benchmarked {
		b.Run(bm.name, func(b *testing.B) {
			p, ctx := benchProgram(b, bm.src)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Bool(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchProgram(t testing.TB, src string) (*Program, *Context) {
	schema := pipeline.NewSchema()
	p, err := NewCompiler(schema, funcs.NewData(), Options{}).CompileFilter(src)
	if err != nil {
		t.Fatal(err)
	}
	ev := event(schema)
	ev.SetField(pipeline.Meta, "service", "http")
	ev.SetField(pipeline.Meta, "log_type", "http_access-log")
	ev.SetField(pipeline.Parsed, "verb", "GET")
	return p, &Context{Event: ev}
}

func TestCompiledFiltersDoNotAllocate(t *testing.T) {
	for _, bm := range benchmarked {
		p, ctx := benchProgram(t, bm.src)
		n := testing.AllocsPerRun(100, func() { _, _ = p.Bool(ctx) })
		if n > 0 && !bm.allocates {
			t.Errorf("%s: %v allocations a run", bm.name, n)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	c := NewCompiler(pipeline.NewSchema(), funcs.NewData(), Options{})
	for b.Loop() {
		if _, err := c.CompileFilter(benchmarked[3].src); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompileHub compiles every expression of the hub over evt.
func BenchmarkCompileHub(b *testing.B) {
	h := loadHub(b)
	for b.Loop() {
		c := NewCompiler(pipeline.NewSchema(), h.data, Options{})
		for _, src := range h.events {
			if _, err := c.CompileFilter(src); err != nil {
				b.Fatal(err)
			}
		}
	}
}
