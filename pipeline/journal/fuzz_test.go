package journal

import (
	"testing"
	"time"

	"sluice/pipeline"
)

// FuzzFrames decodes bytes of any kind as a group, and holds what makes sense
// to coming back the same when it is written again.
func FuzzFrames(f *testing.F) {
	var c encoder
	e := Entry{Stream: Stream{"t", 1}, Labels: map[string]string{"a": "b"}, Marks: map[string]string{"m": "1"},
		Records: []pipeline.Record{{Value: []byte("v"), Key: []byte("k"), Time: time.Unix(1, 2), Headers: []pipeline.Header{{Key: "h"}}}}}
	f.Add(c.append(nil, &e))
	f.Add([]byte{4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, group []byte) {
		d := decoder{b: group}
		for len(d.b) > 0 {
			fr, ok := d.nextFrame()
			if !ok {
				return
			}
			s, labels, ok := decodeKey(fr.key)
			if !ok {
				continue
			}
			records, ok := fr.appendRecords(nil, 0, 0)
			if !ok {
				continue
			}
			if len(records) != fr.count {
				t.Fatalf("%d records of %d", len(records), fr.count)
			}
			one := c.append(nil, &Entry{Stream: s, Labels: labels, Marks: fr.marks, Records: records})
			again := decoder{b: one}
			if fr2, ok := again.nextFrame(); !ok || fr2.count != fr.count || len(again.b) > 0 {
				t.Fatalf("written again it makes no sense: %x", one)
			} else if two, ok := fr2.appendRecords(nil, 0, 0); !ok || len(two) != len(records) {
				t.Fatalf("records written again make no sense: %x", one)
			}
		}
	})
}

// FuzzOpen puts bytes of any kind into a segment: opening it must end, with a
// journal that works or an error.
func FuzzOpen(f *testing.F) {
	id := identity{1, 2, 3}
	h := head{number: 1, ends: map[Stream]int64{{"a", 0}: 0}, marks: map[string]string{"m": "1"}}
	block := h.append(nil, id)
	g := newGroup()
	e := entry("a", "1", "2")
	g.buf = new(encoder).append(g.buf, &e)
	seal(g.buf, id, magicGroup, 0, 2)
	f.Add(append(block, g.buf...), false)
	f.Add(block, true)
	f.Add(g.buf, true)
	f.Add([]byte("SLJhSLJg"), true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed && len(data) >= headerBytes { // get past the checksums
			seal(data, id, string(data[:4]), int64(data[12]), uint32(data[20]))
		}
		fs := newMemory()
		o := options(t, fs)
		path := o.Dir + "/" + segmentName(1, id)
		fs.files[path] = &memoryFile{fs: fs, path: path, data: data}
		j, err := Open(o)
		if err != nil {
			return
		}
		before := j.synced
		if err := j.Close(nil); err != nil {
			t.Fatal(err)
		}
		j2 := start(t, o)
		j2.mustPut(entry("z", "more"))
		if j2.End(Stream{Topic: "z"}) != before+1 {
			t.Errorf("ends %v behind %d", j2.Ends(), before)
		}
		j2.end()
	})
}
