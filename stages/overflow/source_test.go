package overflow_test

import (
	"errors"
	"slices"
	"testing"

	"sluice/pipeline"
	"sluice/stages/overflow"
)

func TestSourcesOfLogLines(t *testing.T) {
	for _, tc := range []struct {
		name        string
		scope, expr string
		events      []fields
		scopes      []string // what the scope expression gave for each event
		want        []pipeline.Source
		err         error
	}{
		{
			name:   "without a scope the source is the address",
			events: []fields{{"Meta.source_ip": "192.0.2.1"}},
			want:   []pipeline.Source{{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1"}},
		},
		{
			name: "an address of IPv6 is a source like any other", scope: "Ip",
			events: []fields{{"Meta.source_ip": "2001:db8::7"}},
			want:   []pipeline.Source{{Scope: "Ip", Value: "2001:db8::7", IP: "2001:db8::7"}},
		},
		{
			name: "what is known of the address goes with it", scope: "Ip",
			events: []fields{{
				"Meta.source_ip": "192.0.2.1", "Meta.SourceRange": "192.0.2.0/24", "Enriched.ASNumber": "64496",
				"Enriched.ASNOrg": "Example Net", "Enriched.IsoCode": "FR", "Enriched.Latitude": "48.500000", "Enriched.Longitude": "2.250000",
			}},
			want: []pipeline.Source{{
				Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1", Range: "192.0.2.0/24", AsNumber: "64496",
				AsName: "Example Net", Cn: "FR", Latitude: 48.5, Longitude: 2.25,
			}},
		},
		{
			name:   "ASNNumber stands in for an absent ASNumber",
			events: []fields{{"Meta.source_ip": "192.0.2.1", "Enriched.ASNNumber": "64500"}},
			want:   []pipeline.Source{{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1", AsNumber: "64500"}},
		},
		{
			name:   "an ASNumber of 0 is kept, not replaced",
			events: []fields{{"Meta.source_ip": "192.0.2.1", "Enriched.ASNumber": "0", "Enriched.ASNNumber": "64500"}},
			want:   []pipeline.Source{{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1", AsNumber: "0"}},
		},
		{
			name:   "coordinates that are no numbers are left out",
			events: []fields{{"Meta.source_ip": "192.0.2.1", "Enriched.Latitude": "north"}},
			want:   []pipeline.Source{{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1"}},
		},
		{
			name:   "several sources come sorted, each once",
			events: []fields{{"Meta.source_ip": "192.0.2.9"}, {"Meta.source_ip": "192.0.2.10"}, {"Meta.source_ip": "192.0.2.9"}},
			want: []pipeline.Source{
				{Scope: "Ip", Value: "192.0.2.10", IP: "192.0.2.10"}, {Scope: "Ip", Value: "192.0.2.9", IP: "192.0.2.9"},
			},
		},
		{name: "an absent source_ip loses the alert", events: []fields{{}}, err: overflow.ErrNoSource},
		{
			name:   "a source_ip that is no address loses the alert, whatever the others hold",
			events: []fields{{"Meta.source_ip": "192.0.2.1"}, {"Meta.source_ip": "gate.example"}},
			err:    overflow.ErrNoSource,
		},
		{
			name: "a range without a source_ip loses the alert too", scope: "Range",
			events: []fields{{"Meta.SourceRange": "192.0.2.0/24"}}, err: overflow.ErrNoSource,
		},
		{
			name:   "a SourceRange that is no network loses the alert",
			events: []fields{{"Meta.source_ip": "192.0.2.1", "Meta.SourceRange": "192.0.2.0/240"}},
			err:    overflow.ErrBadRange,
		},
		{
			name: "an unknown range loses the alert of scope Range", scope: "Range",
			events: []fields{{"Meta.source_ip": "192.0.2.1"}}, err: overflow.ErrNoRange,
		},
		{
			name: "a range is the source of scope Range", scope: "Range",
			events: []fields{{"Meta.source_ip": "192.0.2.1", "Meta.SourceRange": "192.0.2.0/24"}, {"Meta.source_ip": "192.0.2.2", "Meta.SourceRange": "192.0.2.0/24"}},
			want:   []pipeline.Source{{Scope: "Range", Value: "192.0.2.0/24", IP: "192.0.2.2", Range: "192.0.2.0/24"}},
		},
		{
			name: "the host bits of a range are cleared", scope: "Range",
			events: []fields{{"Meta.source_ip": "2001:db8::7", "Meta.SourceRange": "2001:db8::7/64"}},
			want:   []pipeline.Source{{Scope: "Range", Value: "2001:db8::/64", IP: "2001:db8::7", Range: "2001:db8::/64"}},
		},
		{
			name: "an expression gives the value of scope Range", scope: "Range", expr: "evt.Meta.net", scopes: []string{"198.51.0.0/16"},
			events: []fields{{"Meta.source_ip": "198.51.100.1", "Meta.SourceRange": "198.51.100.0/24"}},
			want:   []pipeline.Source{{Scope: "Range", Value: "198.51.0.0/16", IP: "198.51.100.1", Range: "198.51.100.0/24"}},
		},
		{
			name: "a scope of its own takes the value of its expression and needs no address", scope: "username", expr: "evt.Meta.user",
			events: []fields{{}, {}}, scopes: []string{"root", "alice"},
			want: []pipeline.Source{{Scope: "username", Value: "alice"}, {Scope: "username", Value: "root"}},
		},
		{name: "a scope of its own without an expression loses the alert", scope: "username", events: []fields{{}}, err: overflow.ErrNoScope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, scenario(tc.scope, tc.expr), overflow.Options{})
			var queue []*pipeline.Kept
			for _, f := range tc.events {
				queue = append(queue, b.event(f))
			}
			compareSources(t, b, full(tc.scopes, queue...), tc.want, tc.err)
		})
	}
}

func TestSourcesOfAlertsThatArePouredAgain(t *testing.T) {
	ip := pipeline.Source{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1", Range: "192.0.2.0/24", Cn: "FR"}
	bare := pipeline.Source{Scope: "Ip", Value: "192.0.2.2", IP: "192.0.2.2"}
	network := pipeline.Source{Scope: "Range", Value: "198.51.100.0/24", Range: "198.51.100.0/24"}
	user := pipeline.Source{Scope: "username", Value: "root"}
	for _, tc := range []struct {
		name        string
		scope, expr string
		scopes      []string
		alerts      []*pipeline.Kept
		want        []pipeline.Source
		err         error
	}{
		{name: "addresses are taken over", alerts: []*pipeline.Kept{poured(ip), poured(bare)}, want: []pipeline.Source{ip, bare}},
		{name: "an alert of several sources gives them all", alerts: []*pipeline.Kept{poured(bare, ip)}, want: []pipeline.Source{ip, bare}},
		{name: "a range is no address", alerts: []*pipeline.Kept{poured(network), poured(ip)}, want: []pipeline.Source{ip}},
		{name: "nothing but other scopes loses the alert", alerts: []*pipeline.Kept{poured(user)}, err: overflow.ErrNoSource},
		{
			name: "an address gives its range", scope: "Range", alerts: []*pipeline.Kept{poured(ip), poured(network)},
			want: []pipeline.Source{{Scope: "Range", Value: "192.0.2.0/24", Range: "192.0.2.0/24", Cn: "FR"}, network},
		},
		{
			name: "of the addresses of one range the last speaks for it, in every run", scope: "Range",
			alerts: []*pipeline.Kept{poured(
				pipeline.Source{Scope: "Ip", Value: "192.0.2.3", Range: "192.0.2.0/24", Cn: "DE"},
				pipeline.Source{Scope: "Ip", Value: "192.0.2.2", Range: "192.0.2.0/24", Cn: "IT"}, ip,
			)},
			want: []pipeline.Source{{Scope: "Range", Value: "192.0.2.0/24", Range: "192.0.2.0/24", Cn: "DE"}},
		},
		{name: "an address without a range gives none", scope: "Range", alerts: []*pipeline.Kept{poured(bare)}, err: overflow.ErrNoSource},
		{
			name: "an expression gives the range of an address", scope: "Range", expr: "evt.Meta.net", scopes: []string{"192.0.0.0/16"},
			alerts: []*pipeline.Kept{poured(bare)}, want: []pipeline.Source{{Scope: "Range", Value: "192.0.0.0/16"}},
		},
		{name: "a scope of its own is taken over", scope: "username", expr: "evt.Meta.user", alerts: []*pipeline.Kept{poured(user)}, want: []pipeline.Source{user}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, scenario(tc.scope, tc.expr), overflow.Options{})
			compareSources(t, b, full(tc.scopes, tc.alerts...), tc.want, tc.err)
		})
	}
}

// compareSources builds and looks at the sources: one alert for each, sorted
// by value, the first of which rules look at (FIDELITY 23).
func compareSources(t *testing.T, b *bench, o *pipeline.Overflow, want []pipeline.Source, wantErr error) {
	t.Helper()
	ra, err := b.builder.Build(o)
	if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, want %v", err, wantErr)
	}
	if wantErr != nil {
		return
	}
	var got []pipeline.Source
	for i := range ra.APIAlerts {
		got = append(got, *ra.APIAlerts[i].Source)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("sources\n got %+v\nwant %+v", got, want)
	}
	if ra.Alert != &ra.APIAlerts[0] {
		t.Error("rules do not look at the first alert")
	}
	for _, s := range want {
		if ra.Sources[s.Value] != s {
			t.Errorf("source %s of the alert inside is %+v", s.Value, ra.Sources[s.Value])
		}
	}
}
