package parse

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/state"
)

func TestARecordOfAStashIsDescribedByNames(t *testing.T) {
	m := newStashRecords()
	s := NewStashes([]StashDef{{Name: "seen", Size: 2, Strategy: "ARC"}})
	s.Durable(m.dict, m.partition)
	s.SetClock(time.Unix(100, 0).UTC())
	if err := s.Set("seen", "k", "v", time.Minute); err != nil {
		t.Fatal(err)
	}
	m.save(t, s)
	var got []string
	for k, v := range m.values {
		r, err := DescribeStash(m.dict, []byte(k), []byte(v))
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
		for n := range len(v) {
			if _, err := DescribeStash(m.dict, []byte(k), []byte(v)[:n]); err == nil {
				t.Errorf("%d of %d bytes of %q are described", n, len(v), k)
			}
		}
		if _, err := DescribeStash(state.NewDictionary(), []byte(k), []byte(v)); err == nil {
			t.Errorf("%q is described without its dictionary", k)
		}
	}
	slices.Sort(got)
	want := `{"kind":"stash","partition":"s/t/0","clock":"1970-01-01T00:01:40Z"}
{"kind":"stash","partition":"s/t/0","stash":"seen","key":"k","value":"v","deadline":"1970-01-01T00:02:40Z","last_use":1}`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s", text)
	}
}
