package outbox

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"time"

	"sluice/pipeline"
)

func dead() *pipeline.DeadLetter {
	return &pipeline.DeadLetter{
		Kind: pipeline.DeadUnparsed, Reason: "grok", Time: time.Unix(1_700_000_000, 5).UTC(), Size: 9,
		Position: pipeline.Position{Partition: pipeline.Partition{Source: "kafka", Topic: "logs", ID: 7}, Offset: 42, Line: 3},
		Value:    []byte("\xff\x00a"), Key: []byte("k"),
		Headers: []pipeline.Header{{Key: "h", Value: []byte("v")}}, Sink: "lapi",
	}
}

func TestItemsComeBackAsTheyWere(t *testing.T) {
	for name, it := range map[string]Item{
		"an alert for all":             {Alert: &pipeline.Alert{UUID: "1", Message: "<a> & b", Decisions: []pipeline.Decision{{Type: "ban"}}}},
		"an alert for some":            {Alert: &pipeline.Alert{UUID: "1"}, To: []string{"lapi", "", "ünïcode"}},
		"an alert and when it came":    {At: time.Unix(1_700_000_000, 0), Alert: &pipeline.Alert{UUID: "1"}, To: []string{"lapi"}},
		"an alert for none":            {Alert: &pipeline.Alert{UUID: "1"}, To: []string{}},
		"a dead line":                  {Dead: dead()},
		"a dead record without a time": {Dead: &pipeline.DeadLetter{Value: []byte{}, Position: pipeline.Position{Line: -1, Offset: -5}}},
	} {
		b, err := it.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b[len("before"):])
		if err != nil || !reflect.DeepEqual(got, it) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// TestItemsOfVersion1AreRead holds the reader to bytes that were once written:
// what an older Sluice stored stays readable.
func TestItemsOfVersion1AreRead(t *testing.T) {
	for text, want := range map[string]Item{
		"01610301610162" + hex.EncodeToString([]byte(`{"uuid":"u","events_count":3,"sluice":{"cause":{"offset":7}}}`)): {
			To:    []string{"a", "b"},
			Alert: &pipeline.Alert{UUID: "u", EventsCount: 3, Sluice: pipeline.AlertOrigin{Cause: pipeline.Position{Offset: 7}}},
		},
		"016408756e7061727365640467726f6b056b61666b61046c6f67730e54060180c49fd50c0503ff0061016b010168017609046c617069": {Dead: dead()},
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if it, err := Decode(b); err != nil || !reflect.DeepEqual(it, want) {
			t.Errorf("got %+v, %v", it, err)
		}
	}
}

func TestItemsOfVersion2AreRead(t *testing.T) {
	want := Item{To: []string{"a", "b"}, Alert: &pipeline.Alert{UUID: "u", EventsCount: 3}}
	b, err := appendAlert([]byte("\x02a\x03\x01a\x01b"), want.Alert)
	if err != nil {
		t.Fatal(err)
	}
	if it, err := Decode(b); err != nil || !reflect.DeepEqual(it, want) {
		t.Errorf("got %+v, %v", it, err)
	}
}

func TestATornItemIsRefused(t *testing.T) {
	for _, it := range []Item{{Dead: dead()}, {Alert: &pipeline.Alert{UUID: "1"}, To: []string{"lapi"}}} {
		b, err := it.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range b {
			if _, err := Decode(b[:n]); !errors.Is(err, errTorn) {
				t.Errorf("%d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := Decode(append([]byte{itemVersion + 1}, b[1:]...)); !errors.Is(err, ErrNewer) {
			t.Errorf("a newer version: %v", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, it := range []Item{{Dead: dead()}, {Alert: &pipeline.Alert{UUID: "1"}, To: []string{"lapi"}}} {
		b, err := it.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := Decode(b)
		if err != nil || it.Dead == nil {
			return
		}
		again, err := it.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(again)
		if err != nil || !reflect.DeepEqual(back, it) {
			t.Errorf("%x comes back as %+v, %v", b, back, err)
		}
	})
}
