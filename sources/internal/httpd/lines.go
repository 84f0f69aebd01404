package httpd

import "bytes"

// Lines makes a record of every line of the body; blank lines are none.
func (r *Request) Lines() error {
	return r.eachLine(func(g *Group, line []byte, _ int) error { return g.Add(line, r.Batch.now, nil) })
}

// NDJSON makes a record of every line of the body, each of which must be a JSON value.
func (r *Request) NDJSON() error {
	return r.eachLine(func(g *Group, line []byte, number int) error {
		if err := CheckJSON(line); err != nil {
			return Malformed("line %d: %v", number, err)
		}
		return g.Add(line, r.Batch.now, nil)
	})
}

// One makes one record of the whole body, but for its last line end. An empty one is none.
func (r *Request) One() error {
	text, err := r.Whole()
	if err != nil {
		return err
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 {
		r.source.counters.skipped.Add(1)
		return nil
	}
	g, err := r.Batch.Group()
	if err != nil {
		return err
	}
	return g.Add(text, r.Batch.now, nil)
}

// eachLine calls do with every line that is not blank, and its number.
func (r *Request) eachLine(do func(g *Group, line []byte, number int) error) error {
	g, err := r.Batch.Group()
	if err != nil {
		return err
	}
	f := feed{r: r}
	number := 0
	line := func(text []byte) error {
		number++
		text = bytes.TrimSuffix(text, []byte{'\r'})
		if len(bytes.TrimSpace(text)) == 0 {
			r.source.counters.skipped.Add(1)
			return nil
		}
		return do(g, text[:len(text):len(text)], number)
	}
	for searched := 0; ; { // searched is how much of the rest has no line end
		if i := bytes.IndexByte(f.rest()[searched:], '\n'); i >= 0 {
			end := f.start + searched + i
			if err := line(f.buf[f.start:end]); err != nil {
				return err
			}
			f.start, searched = end+1, 0
			continue
		}
		searched = f.end - f.start
		if f.ended {
			if searched > 0 { // the last line need not have an end
				return line(f.rest())
			}
			return nil
		}
		if err := f.more(); err != nil {
			return err
		}
	}
}
