package amqp

import (
	"fmt"
	"testing"

	"sluice/sources/intake"
)

func TestRepeatsAreKnownByTheirIDs(t *testing.T) {
	f := newFake(t)
	c := config(f.url(), func(c *Config) { c.UniqueMessageID, c.Prefetch, c.Intake = true, 10, intake.Journal })
	dir := t.TempDir()
	r := read(t, c, dir)
	s := f.session()
	var sent []message
	for i := range 50 {
		sent = append(sent, message{body: fmt.Sprint(i), id: fmt.Sprintf("id %d", i)})
		f.wantAck(s.deliver(sent[i]))
		r.Expect(t, fmt.Sprint(i))
	}
	again := func(i int) message { m := sent[i]; m.again = true; return m }
	f.drop()
	s = f.session()
	f.wantAck(s.deliver(again(45), again(49), message{body: "new", id: "id 50", again: true}, message{body: "no id", again: true}, sent[45]))
	r.Expect(t, "new", "no id", "45") // what the broker does not call a repeat is none
	if st := r.source.Stats(); st.Redelivered != 2 || st.Skipped != 2 {
		t.Errorf("%+v", st)
	}

	r = r.again(t, c, dir)
	s = f.session()
	f.wantAck(s.deliver(again(48), message{body: "new", id: "id 50", again: true}, again(3)))
	r.Expect(t, "3") // too long ago to be unacknowledged
	if st := r.source.Stats(); st.Skipped != 2 {
		t.Errorf("%+v", st)
	}
}
