package pipeline

import (
	"testing"
	"time"
)

func TestAbsentIsNotEmpty(t *testing.T) {
	s := NewSchema()
	slot := s.Slot(Meta, "user")
	ev := NewEvent(s)
	if ev.Has(slot) || ev.Get(slot) != "" {
		t.Error("a new event has a field")
	}
	ev.Set(slot, "")
	if !ev.Has(slot) {
		t.Error("an empty value reads as absent")
	}
	ev.Reset()
	if ev.Has(slot) || len(ev.Touched()) != 0 {
		t.Error("a field survived Reset")
	}
}

func TestResetWhenTheStampComesRound(t *testing.T) {
	s := NewSchema()
	slot := s.Slot(Parsed, "x")
	ev := NewEvent(s)
	ev.Set(slot, "old") // stamp 1
	ev.SetMemo(0, "old")
	ev.stamp = ^uint32(0)
	ev.Reset()
	if ev.Has(slot) {
		t.Error("a value of 4 billion events ago came back")
	}
	if _, ok := ev.Memo(0); ok {
		t.Error("a memo of 4 billion events ago came back")
	}
}

func TestNamesNoRuleMentionsSpill(t *testing.T) {
	s := NewSchema()
	s.Slot(Meta, "known")
	ev := NewEvent(s)
	ev.SetField(Meta, "known", "1")
	ev.SetField(Meta, "unknown", "2")
	got := map[string]string{}
	ev.Each(Meta, func(n, v string) { got[n] = v })
	if len(got) != 2 || got["known"] != "1" || got["unknown"] != "2" {
		t.Errorf("Each gave %v", got)
	}
	if v, ok := ev.Field(Meta, "unknown"); !ok || v != "2" {
		t.Error("a spilled field cannot be read")
	}
}

func TestKeptOutlivesItsBatch(t *testing.T) {
	s := NewSchema()
	user, dropped := s.Slot(Meta, "user"), s.Slot(Parsed, "rest")
	keep := &KeepSet{Unmarshaled: true}
	keep.Prepare(s)
	line := []byte("root and more")
	ev := NewEvent(s)
	ev.Time = time.Unix(7, 0)
	ev.Set(user, aliasString(line[:4]))
	ev.Set(dropped, "x")
	ev.SetField(Meta, "spilled", aliasString(line[5:8]))
	ev.Unmarshaled = map[string]any{"kv": map[string]any{"a": aliasString(line[9:])}, "l": []any{aliasString(line[:4])}}
	var arena KeptArena
	kept := arena.Keep(ev, keep)
	own := kept.Own()
	for i := range line {
		line[i] = '#'
	}
	arena.Poison()
	arena.Reset()
	ev.Reset()
	v := own.View()
	if v.Meta["user"] != "root" || v.Meta["spilled"] != "and" || len(v.Parsed) != 0 {
		t.Errorf("kept %v %v", v.Meta, v.Parsed)
	}
	if got := v.Unmarshaled["kv"].(map[string]any)["a"]; got != "more" {
		t.Errorf("kept unmarshaled %v", got)
	}
	if !v.Time.Equal(time.Unix(7, 0)) {
		t.Errorf("kept time %v", v.Time)
	}
}

func TestViewGetMetaOfAnOverflowLooksAtItsEvents(t *testing.T) {
	v := &View{Type: int(OverflowEvent), Overflow: RuntimeAlert{APIAlerts: []Alert{{Events: []AlertEvent{
		{}, {Meta: []MetaItem{{"service", "ssh"}}},
	}}}}}
	if v.GetMeta("service") != "ssh" || v.GetType() != "overflow" {
		t.Errorf("got %q %q", v.GetMeta("service"), v.GetType())
	}
}
