package pipeline

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"slices"
)

// The tags of the values that evt.Unmarshaled and labels hold.
const (
	tagNil     = 'n'
	tagTrue    = 't'
	tagFalse   = 'f'
	tagText    = 's'
	tagFloat   = 'd'
	tagInt     = 'i'
	tagInt64   = 'l'
	tagUint64  = 'u'
	tagMap     = 'm'
	tagList    = 'a'
	tagTexts   = 'q' // []string
	tagTextMap = 'p' // map[string]string
	tagJSON    = 'j' // anything else comes back as JSON gives it
)

// maxDepth bounds how deep values lie in each other; JSON's decoder stops at half of it.
const maxDepth = 20_000

func appendValue(to []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(to, tagNil)
	case bool:
		if v {
			return append(to, tagTrue)
		}
		return append(to, tagFalse)
	case string:
		return AppendText(append(to, tagText), v)
	case float64:
		return binary.LittleEndian.AppendUint64(append(to, tagFloat), math.Float64bits(v))
	case int:
		return binary.AppendVarint(append(to, tagInt), int64(v))
	case int64:
		return binary.AppendVarint(append(to, tagInt64), v)
	case uint64:
		return binary.AppendUvarint(append(to, tagUint64), v)
	case map[string]any:
		return appendMap(append(to, tagMap), v)
	case []any:
		to = binary.AppendUvarint(append(to, tagList), uint64(len(v)))
		for _, e := range v {
			to = appendValue(to, e)
		}
		return to
	case []string:
		return appendTexts(append(to, tagTexts), v)
	case map[string]string:
		to = binary.AppendUvarint(append(to, tagTextMap), uint64(len(v)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			to = AppendText(AppendText(to, k), v[k])
		}
		return to
	}
	text, err := json.Marshal(v)
	if err != nil { // a function or a channel: no rule can read it
		return append(to, tagNil)
	}
	return AppendText(append(to, tagJSON), string(text))
}

func appendMap(to []byte, m map[string]any) []byte {
	to = binary.AppendUvarint(to, uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		to = appendValue(AppendText(to, k), m[k])
	}
	return to
}

func appendTexts(to []byte, texts []string) []byte {
	to = binary.AppendUvarint(to, uint64(len(texts)))
	for _, s := range texts {
		to = AppendText(to, s)
	}
	return to
}

func readTexts(r *StoredReader) []string {
	out := make([]string, r.Count(1))
	for i := range out {
		out[i] = r.Text()
	}
	return out
}

func readMap(r *StoredReader, depth int) map[string]any {
	n := r.Count(2)
	out := make(map[string]any, n)
	for ; n > 0 && r.Err() == nil; n-- {
		k := r.Text()
		out[k] = readValue(r, depth+1)
	}
	return out
}

func readValue(r *StoredReader, depth int) any {
	if depth > maxDepth {
		r.Fail(ErrCut)
		return nil
	}
	switch r.Byte() {
	case tagNil:
		return nil
	case tagTrue:
		return true
	case tagFalse:
		return false
	case tagText:
		return r.Text()
	case tagFloat:
		return math.Float64frombits(r.Uint64())
	case tagInt:
		return int(r.Varint())
	case tagInt64:
		return r.Varint()
	case tagUint64:
		return r.Uvarint()
	case tagMap:
		return readMap(r, depth)
	case tagList:
		n := r.Count(1)
		out := make([]any, n)
		for i := range out {
			out[i] = readValue(r, depth+1)
		}
		return out
	case tagTexts:
		return readTexts(r)
	case tagTextMap:
		n := r.Count(2)
		out := make(map[string]string, n)
		for ; n > 0 && r.Err() == nil; n-- {
			k := r.Text()
			out[k] = r.Text()
		}
		return out
	case tagJSON:
		var v any
		if err := json.Unmarshal(r.Bytes(), &v); err != nil {
			r.Fail(ErrCut)
		}
		return v
	}
	r.Fail(ErrCut)
	return nil
}

// storedAlert is a RuntimeAlert with what its JSON leaves out.
type storedAlert struct {
	Alert *RuntimeAlert
	// First tells that Alert.Alert is the first of Alert.APIAlerts.
	First bool
}

// appendAlert appends an alert that is an event. Such alerts are few: JSON will do,
// but for what it does not hold or would change the type of.
func appendAlert(to []byte, a *RuntimeAlert) []byte {
	stored := storedAlert{Alert: a, First: len(a.APIAlerts) > 0 && a.Alert == &a.APIAlerts[0]}
	if stored.First {
		c := *a
		c.Alert = nil
		stored.Alert = &c
	}
	text, err := json.Marshal(stored)
	if err != nil { // a number that JSON has no word for, which no sink could write either
		a = &RuntimeAlert{Mapkey: a.Mapkey, Reprocess: a.Reprocess, Whitelisted: a.Whitelisted, Time: a.Time}
		text, _ = json.Marshal(storedAlert{Alert: a}) // plain texts marshal
	}
	to = AppendText(to, string(text))
	to = AppendTime(to, a.Time, 0)
	for _, o := range origins(a) {
		to = AppendTime(to, o.StartTime, 0)
		to = AppendTime(to, o.StopTime, 0)
		if o.Labels == nil {
			to = append(to, tagNil)
			continue
		}
		to = appendValue(to, o.Labels)
	}
	return to
}

// origins lists the origins of an alert and of those for sinks; there is one at least when it has an alert.
func origins(a *RuntimeAlert) []*AlertOrigin {
	var out []*AlertOrigin
	for i := range a.APIAlerts {
		out = append(out, &a.APIAlerts[i].Sluice)
	}
	if a.Alert != nil && (len(a.APIAlerts) == 0 || a.Alert != &a.APIAlerts[0]) {
		out = append(out, &a.Alert.Sluice)
	}
	return out
}

func readAlert(r *StoredReader) *RuntimeAlert {
	var stored storedAlert
	if text := r.Bytes(); r.Err() == nil && json.Unmarshal(text, &stored) != nil || stored.Alert == nil {
		r.Fail(ErrCut)
		return nil
	}
	a := stored.Alert
	if stored.First && len(a.APIAlerts) > 0 {
		a.Alert = &a.APIAlerts[0]
	}
	a.Time = r.Time(0)
	for _, o := range origins(a) {
		o.StartTime, o.StopTime = r.Time(0), r.Time(0)
		o.Labels, _ = readValue(r, 0).(map[string]any)
	}
	return a
}
