package enrich

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/rules"
)

// hubData returns a file of the hub's data folder.
func hubData(t testing.TB, name string) string {
	t.Helper()
	hub := os.Getenv("SLUICE_HUB")
	if hub == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for !exists(filepath.Join(dir, "go.mod")) {
			dir = filepath.Dir(dir)
		}
		hub = filepath.Join(dir, "..", "shared", "hub")
	}
	path := filepath.Join(hub, "data", name)
	if !exists(path) {
		t.Skip("hub not found: set SLUICE_HUB to the folder that holds data/ and tests/")
	}
	return path
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func newSet(t testing.TB, o Options) (*Set, *pipeline.Event) {
	t.Helper()
	schema := pipeline.NewSchema()
	s, err := New(schema, o)
	if err != nil {
		t.Fatal(err)
	}
	ev := pipeline.NewEvent(schema)
	ev.Received = time.Date(2025, time.June, 15, 12, 0, 0, 500, time.UTC)
	ev.Time = ev.Received
	return s, ev
}

func call(t testing.TB, r *Runner, ev *pipeline.Event, method, value string) map[string]string {
	t.Helper()
	m, ok := r.set.Method(method)
	if !ok {
		t.Fatalf("there is no method %q", method)
	}
	if err := r.Call(m, ev, value); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	ev.Each(pipeline.Enriched, func(name, value string) { got[name] = value })
	return got
}

func TestParseDateSetsTheEventsTime(t *testing.T) {
	s, ev := newSet(t, Options{})
	r := s.NewRunner()
	got := call(t, r, ev, "ParseDate", "10/Oct/2023:13:55:36 -0700")
	if got["MarshaledTime"] != "2023-10-10T13:55:36-07:00" || ev.Time.UTC().Hour() != 20 {
		t.Errorf("got %v and the time %v", got, ev.Time)
	}
	got = call(t, r, ev, "ParseDate", "no date")
	if got["MarshaledTime"] != "2025-06-15T12:00:00.0000005Z" || !ev.Time.Equal(ev.Received) {
		t.Errorf("what is no date is received now: got %v and the time %v", got, ev.Time)
	}
	ev.Set(pipeline.SlotStrTimeFormat, "%d.%m.%Y")
	if got = call(t, r, ev, "ParseDate", "01.02.2003"); got["MarshaledTime"] != "2003-02-01T00:00:00Z" {
		t.Errorf("the format of the event is used: got %v", got)
	}
	r.SetTime(ev, "2020-01-02T03:04:05.5Z")
	if ev.Time.Format(time.RFC3339Nano) != "2020-01-02T03:04:05.5Z" {
		t.Errorf("SetTime gave %v", ev.Time)
	}
}

func TestGeo(t *testing.T) {
	s, ev := newSet(t, Options{Data: []rules.DataFile{
		{Data: rules.Data{DestFile: "a.mmdb"}, Path: hubData(t, "GeoLite2-Test-City.mmdb")},
		{Data: rules.Data{DestFile: "b.mmdb"}, Path: hubData(t, "GeoLite2-Test-ASN.mmdb")},
		{Data: rules.Data{DestFile: "words.txt", Type: "string"}, Path: "not opened"},
		{Data: rules.Data{DestFile: "missing.mmdb"}},
	}})
	r := s.NewRunner()
	tests := []struct {
		name, method, value string
		want                map[string]string
	}{
		{"the city of an IPv4 address", "GeoIpCity", "2.125.160.216", map[string]string{"IsoCode": "GB", "Latitude": "51.750000", "Longitude": "-1.250000"}},
		{"the city of a mapped IPv6 address", "GeoIpCity", "::ffff:2.125.160.216", map[string]string{"IsoCode": "GB"}},
		{"an unknown address has coordinates of zero", "GeoIpCity", "127.0.0.1", map[string]string{"IsoCode": "", "IsInEU": "false", "Latitude": "0.000000", "Longitude": "0.000000"}},
		{"no address writes nothing", "GeoIpCity", "nonsense", map[string]string{}},
		{"an address with a zone writes nothing", "GeoIpCity", "fe80::1%eth0", map[string]string{}},
		{"the system of an address", "GeoIpASN", "1.128.0.1", map[string]string{"ASNNumber": "1221", "ASNumber": "1221"}},
		{"an unknown system is 0", "GeoIpASN", "127.0.0.1", map[string]string{"ASNNumber": "0", "ASNumber": "0", "ASNOrg": ""}},
		{"the range of an address", "IpToRange", "1.128.0.1", map[string]string{"SourceRange": "1.128.0.0/11"}},
		{"no range for an unknown address", "IpToRange", "127.0.0.1", map[string]string{}},
		{"the range of an IPv6 address", "IpToRange", "2600:6000::1", map[string]string{"SourceRange": "2600:6000::/20"}},
		{"nothing for nothing", "IpToRange", "", map[string]string{}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 { // the second comes from the cache
				ev.Reset()
				got := call(t, r, ev, tc.method, tc.value)
				for k, v := range tc.want {
					if g, ok := got[k]; !ok || g != v {
						t.Errorf("%s is %q, want %q (all: %v)", k, g, v, got)
					}
				}
				if len(tc.want) == 0 && len(got) > 0 {
					t.Errorf("got %v, want nothing", got)
				}
			}
		})
	}
	if n := testing.AllocsPerRun(100, func() { _ = r.Call(GeoIPCity, ev, "2.125.160.216") }); n != 0 {
		t.Errorf("a known address costs %v allocations", n)
	}
}

func TestGeoCacheIsBounded(t *testing.T) {
	c := geoCache{limit: 10}
	first := c.get("10.0.0.1")
	for i := range 100 {
		c.get(net.IPv4(10, 0, 1, byte(i)).String())
		if got := c.get("10.0.0.1"); got != first {
			t.Fatal("an address in use was forgotten")
		}
		if n := len(c.young) + len(c.old); n > 10 {
			t.Fatalf("%d addresses are remembered, want at most 10", n)
		}
	}
}

func TestDamagedDatabases(t *testing.T) {
	whole, err := os.ReadFile(hubData(t, "GeoLite2-Test-City.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, data []byte) (*Set, error) {
		path := filepath.Join(t.TempDir(), "x.mmdb")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return New(pipeline.NewSchema(), Options{Data: []rules.DataFile{{Data: rules.Data{DestFile: "x.mmdb", Pos: rules.Pos{File: "geo.yaml", Line: 7, Column: 3}}, Path: path}}})
	}
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("<html>not found</html>"), "cut short": whole[:len(whole)/2]} {
		t.Run(name, func(t *testing.T) {
			if _, err := open(t, data); err == nil || !strings.Contains(err.Error(), "geo.yaml:7:3") || !strings.Contains(err.Error(), "x.mmdb") {
				t.Errorf("got %v, want an error that names rule and file", err)
			}
		})
	}
	t.Run("damaged in the middle: errors or answers, no panic", func(t *testing.T) {
		for from := 0; from < len(whole); from += 997 {
			broken := append([]byte(nil), whole...)
			for i := from; i < min(from+64, len(broken)); i++ {
				broken[i] = 0xff
			}
			s, err := open(t, broken)
			if err != nil {
				continue
			}
			ev := pipeline.NewEvent(pipeline.NewSchema())
			_ = ev
			for _, ip := range []string{"2.125.160.216", "81.2.69.160", "2001:218::1"} {
				var rec cityRecord
				if s.city != nil {
					p := (&geoCache{limit: 2}).get(ip)
					_, _, _ = s.city.decode(p.addr, &rec)
				}
			}
		}
	})
}

// fakeNames answers from a map and counts the questions.
type fakeNames struct {
	mu    sync.Mutex
	asked map[string]int
	names map[string][]string
	gate  chan struct{} // when set, every question waits for it
	err   error
}

func (f *fakeNames) lookup(ctx context.Context, addr string) ([]string, error) {
	f.mu.Lock()
	f.asked[addr]++
	f.mu.Unlock()
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return f.names[addr], f.err
}

func TestNamesAreAskedOnceAndExpire(t *testing.T) {
	now := time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)
	fake := &fakeNames{asked: map[string]int{}, names: map[string][]string{"192.0.2.1": {"a.example."}}}
	n, err := NewNames(NamesOptions{LookupAddr: fake.lookup, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(addr string, want int) {
		t.Helper()
		if _, err := n.Lookup(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
		if fake.asked[addr] != want {
			t.Errorf("%s was asked %d times, want %d", addr, fake.asked[addr], want)
		}
	}
	ask("192.0.2.1", 1)
	ask("192.0.2.1", 1)
	ask("192.0.2.2", 1)
	now = now.Add(6 * time.Minute)
	ask("192.0.2.1", 1) // names are kept an hour
	ask("192.0.2.2", 2) // the lack of them five minutes
	now = now.Add(time.Hour)
	ask("192.0.2.1", 2)

	s, ev := newSet(t, Options{Names: n})
	if got := call(t, s.NewRunner(), ev, "reverse_dns", "192.0.2.1"); got["reverse_dns"] != "a.example." {
		t.Errorf("the method wrote %v", got)
	}
	if names, err := n.Lookup(t.Context(), "no address"); names != nil || err != nil {
		t.Errorf("what is no address has no names: got %v, %v", names, err)
	}
	fake.err = &net.DNSError{IsNotFound: true}
	if names, err := n.Lookup(t.Context(), "192.0.2.9"); names != nil || err != nil {
		t.Errorf("an address without names is no error: got %v, %v", names, err)
	}
	fake.err = errors.New("server failed")
	if _, err := n.Lookup(t.Context(), "192.0.2.10"); err == nil {
		t.Error("a failing server is an error")
	}
}

func TestNamesFollowTheContextAndShareQuestions(t *testing.T) {
	fake := &fakeNames{asked: map[string]int{}, names: map[string][]string{"192.0.2.1": {"a."}}, gate: make(chan struct{})}
	n, err := NewNames(NamesOptions{LookupAddr: fake.lookup, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Lookup(gone, "192.0.2.1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if names, err := n.Lookup(t.Context(), "192.0.2.1"); err != nil || len(names) != 1 {
				t.Errorf("got %v, %v", names, err)
			}
		})
	}
	close(fake.gate)
	wg.Wait()
	if fake.asked["192.0.2.1"] != 1 {
		t.Errorf("asked %d times, want once", fake.asked["192.0.2.1"])
	}
}

func TestReverseDNSIsOffWithoutAResolver(t *testing.T) {
	s, ev := newSet(t, Options{})
	if got := call(t, s.NewRunner(), ev, "reverse_dns", "192.0.2.1"); len(got) != 0 {
		t.Errorf("got %v, want nothing", got)
	}
}

func TestUnmarshalJSONReadsTheLine(t *testing.T) {
	s, ev := newSet(t, Options{})
	ev.Set(pipeline.SlotLineRaw, `{"a": {"b": 1}}`)
	call(t, s.NewRunner(), ev, "UnmarshalJSON", "")
	if _, ok := ev.Unmarshaled["a"].(map[string]any); !ok {
		t.Errorf("got %v", ev.Unmarshaled)
	}
	ev.Set(pipeline.SlotLineRaw, `{"a": `)
	if err := s.NewRunner().Call(UnmarshalJSON, ev, ""); err == nil {
		t.Error("JSON cut short is an error")
	}
}
