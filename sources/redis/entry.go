package redis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pipeline"
)

// firstTime is 2001 in Unix milliseconds. Ids below were chosen by whoever
// wrote them and are no times.
const firstTime = 1e12

// record makes a record of an entry. ok is false when the entry does not have
// the field that is the line; the record is then the whole entry.
func (c *Config) record(m *redis.XMessage, offset int64, now time.Time) (rec pipeline.Record, ok bool) {
	rec = pipeline.Record{Key: []byte(m.ID), Offset: offset, Time: now}
	if ms := millisOf(offset); ms >= firstTime {
		rec.Time = time.UnixMilli(ms).UTC()
	}
	if c.Field == "" {
		rec.Value = entryJSON(m.Values)
		return rec, true
	}
	value, ok := m.Values[c.Field]
	if !ok {
		rec.Value = entryJSON(m.Values)
		return rec, false
	}
	rec.Value = []byte(text(value))
	for _, name := range slices.Sorted(maps.Keys(m.Values)) {
		if name != c.Field {
			rec.Headers = append(rec.Headers, pipeline.Header{Key: name, Value: []byte(text(m.Values[name]))})
		}
	}
	return rec, true
}

// text returns a field's value; the client gives strings.
func text(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	return fmt.Sprint(value)
}

// entryJSON returns the fields as a JSON object, sorted by name. Bytes that
// are no UTF-8 become the replacement character.
func entryJSON(values map[string]any) []byte {
	fields := make(map[string]string, len(values))
	for name, value := range values {
		fields[name] = text(value)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(fields); err != nil {
		return []byte("{}") // a map of strings always encodes
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}

// size is how much memory an entry's fields take, about.
func size(m *redis.XMessage) (n int) {
	for name, value := range m.Values {
		n += len(name) + len(text(value)) + 32
	}
	return n
}
