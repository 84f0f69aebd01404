package match

import (
	"fmt"
	"testing"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

func groupByValue(src string) *value {
	if src == "" {
		return nil
	}
	return newValue(nil, src, pipeline.NewSchema())
}

func TestRouteOfGroupBy(t *testing.T) {
	for _, tc := range []struct {
		name, groupBy string
		want          routeKind
	}{
		{"the address alone", `evt.Meta.source_ip`, routeByAddress},
		{"the address by index", `evt.Meta["source_ip"]`, routeByAddress},
		{"in parentheses", `(evt.Meta.source_ip)`, routeByAddress},
		{"no groupby", ``, routeByKey},
		{"another field", `evt.Meta.user`, routeByKey},
		{"the address of another namespace", `evt.Parsed.source_ip`, routeByKey},
		{"a slash", `evt.Meta.source_ip + '/' + evt.Parsed.target_fqdn`, routeByPrefix},
		{"dashes", `evt.Meta.source_ip + '--' + evt.Meta.log_type`, routeByPrefix},
		{"address last", `evt.Meta.user + '|' + evt.Meta.source_ip`, routeBySuffix},
		{"address last behind a longer sum", `evt.Meta.a + evt.Meta.b + ' ' + evt.Meta.source_ip`, routeBySuffix},
		{"only a literal behind", `evt.Meta.source_ip + '!'`, routeByPrefix},
		{"sums in parentheses", `evt.Meta.source_ip + ('/' + evt.Meta.user)`, routeByPrefix},
		{"a mark inside of the literal", `evt.Meta.source_ip + ':port=' + evt.Meta.port`, routeByPrefix},
		{"a literal beyond ASCII", `evt.Meta.source_ip + '·' + evt.Meta.port`, routeByPrefix},
		{"a dot is in addresses", `evt.Meta.source_ip + '.' + evt.Meta.user`, routeByKey},
		{"a colon is in addresses", `evt.Meta.source_ip + ':' + evt.Meta.user`, routeByKey},
		{"hex digits are in addresses", `evt.Meta.source_ip + 'fade' + evt.Meta.user`, routeByKey},
		{"an empty literal", `evt.Meta.source_ip + '' + evt.Meta.user`, routeByKey},
		{"no literal between", `evt.Meta.source_ip + evt.Meta.user`, routeByKey},
		{"the literal is not beside the address", `evt.Meta.source_ip + evt.Meta.user + '/'`, routeByKey},
		{"the address in the middle", `evt.Meta.user + '/' + evt.Meta.source_ip + '/' + evt.Meta.port`, routeByKey},
		{"a function of the address", `Lower(evt.Meta.source_ip)`, routeByKey},
		{"a choice", `evt.Meta.source_ip != '' ? evt.Meta.source_ip : evt.Meta.user`, routeByKey},
		{"something the parser does not know", `evt.Meta.`, routeByKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := routeOf(groupByValue(tc.groupBy)); got.kind != tc.want {
				t.Errorf("%s: route kind %d, want %d", tc.groupBy, got.kind, tc.want)
			}
		})
	}
}

func TestRouteOfAnAddressIsTheSameInEveryForm(t *testing.T) {
	alone := routeOf(groupByValue(`evt.Meta.source_ip`))
	for _, address := range []string{"192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7", "fe80::1%eth0", ""} {
		want := alone.hash(address)
		for groupBy, key := range map[string]string{
			`evt.Meta.source_ip + '/' + evt.Meta.x`:   address + "/" + "a/b--c",
			`evt.Meta.source_ip + '--' + evt.Meta.x`:  address + "--" + "--",
			`evt.Meta.source_ip + ':p=' + evt.Meta.x`: address + ":p=" + "p=:p=",
			`evt.Meta.source_ip + '·' + evt.Meta.x`:   address + "·" + "··",
			`evt.Meta.x + '/' + evt.Meta.source_ip`:   "a/b/" + "/" + address,
			`evt.Meta.x + 'p=:' + evt.Meta.source_ip`: "p=:" + "p=:" + address,
		} {
			rt := routeOf(groupByValue(groupBy))
			if got := rt.hash(key); got != want {
				t.Errorf("%s with key %q: route %x, want that of %q, %x", groupBy, key, got, address, want)
			}
		}
	}
}

func TestRouteIsTheSameInEveryRun(t *testing.T) {
	docs, scenarios := routedDocs([3]string{"a", "f", "evt.Meta.user"}, [3]string{"b", "f", ""})
	assignRoutes(docs, scenarios)
	byAddress := routeOf(groupByValue(`evt.Meta.source_ip`))
	got := fmt.Sprintf("%016x %016x %016x", byAddress.hash("192.0.2.7"), docs[0].route.hash("root"), docs[1].route.hash(""))
	const want = "d86f3950d7e3174f 731feb1041ef1dcf e0b610876cec2d41"
	if got != want {
		t.Errorf("routes %s, want %s: they decide where state lives and must not change", got, want)
	}
}

// routedDocs makes documents of (name, filter, groupby) that count as compiled.
func routedDocs(specs ...[3]string) ([]document, []*rules.Scenario) {
	docs := make([]document, len(specs))
	scenarios := make([]*rules.Scenario, len(specs))
	for i, s := range specs {
		docs[i] = document{filter: &expression.Program{}, groupBy: groupByValue(s[2])}
		scenarios[i] = &rules.Scenario{Name: s[0], Filter: rules.Text{Value: s[1]}}
	}
	return docs, scenarios
}

func TestDocumentsThatShareBucketsRouteAlike(t *testing.T) {
	docs, scenarios := routedDocs(
		[3]string{"a", "f", `evt.Meta.source_ip`},
		[3]string{"a", "f", `evt.Meta["source_ip"]`},
		[3]string{"b", "f", `evt.Meta.source_ip`},
		[3]string{"b", "f", `evt.Meta.user`},
		[3]string{"b", "g", `evt.Meta.source_ip`},
		[3]string{"c", "f", `evt.Meta.source_ip`},
		[3]string{"c", "f", `evt.Meta.source_ip + '/' + evt.Meta.user`},
		[3]string{"d", "f", `evt.Meta.source_ip + '/' + evt.Meta.user`},
		[3]string{"d", "f", `evt.Meta.source_ip + '/' + evt.Meta.path`},
		[3]string{"e", "f", ``},
		[3]string{"e", "f", `evt.Meta.source_ip`},
	)
	assignRoutes(docs, scenarios)
	want := []bool{true, true, false, false, true, false, false, true, true, false, false}
	for i := range docs {
		if got := docs[i].route.kind != routeByKey; got != want[i] {
			t.Errorf("document %d (%s, %s): by address %v, want %v", i, scenarios[i].Name, scenarios[i].Filter.Value, got, want[i])
		}
	}
	for _, pair := range [][2]int{{2, 3}, {5, 6}, {9, 10}} {
		if docs[pair[0]].route.hash("k") != docs[pair[1]].route.hash("k") {
			t.Errorf("documents %v share buckets but not routes", pair)
		}
	}
	if docs[2].route.hash("k") == docs[5].route.hash("k") {
		t.Error("the same key of different groups has one route")
	}
}
