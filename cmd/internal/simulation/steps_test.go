package simulation

import (
	"time"

	"sluice/pipeline"
	"sluice/sinks/outbox"
)

// run lives through a seed, up to a quiet end at which everything is through.
func (w *world) run() {
	for _, m := range w.members {
		m.start()
	}
	defer w.finish()
	for range w.plan.steps {
		if w.isFailed() {
			return
		}
		w.step()
		w.rest()
	}
	w.recover()
}

// step does one thing.
func (w *world) step() {
	m := w.members[w.steps.IntN(len(w.members))]
	n := w.steps.IntN(100)
	if w.plan.isGroup() && w.steps.IntN(6) == 0 {
		if n < 25 {
			hears := n < 12
			w.record("member %d hears of the group: %v", m.index, hears)
			m.faults.hear(hears)
			return
		}
		w.rebalance(false)
		return
	}
	if !m.alive() {
		if n < 50 {
			m.start()
			return
		}
		n %= 40 // the dead can do no more than wait
	}
	switch {
	case n < 30:
		w.reveal()
	case n < 45:
		d := time.Duration(1+w.steps.IntN(3000)) * time.Millisecond
		w.record("%v pass", d)
		time.Sleep(d)
	case n < 53:
		m.proc.kill()
	case n < 65:
		at, times := point(1+w.steps.IntN(int(points)-1)), 1+w.steps.IntN(4)
		w.record("member %d is to crash %s, time %d", m.index, pointNames[at], times)
		m.proc.arm(at, times)
	case n < 70:
		m.stop()
	case n < 80:
		w.breakSink(m)
	case n < 88:
		w.breakCommits(m)
	case n < 92:
		low := w.steps.IntN(2) == 0
		w.record("member %d: the disk is almost full: %v", m.index, low)
		m.disk.fill(low)
	case n < 96:
		m.reload(m.phase)
	default:
		m.changeRules()
	}
}

// reveal makes some records of a partition visible.
func (w *world) reveal() {
	id := w.steps.IntN(w.plan.partitions)
	n := int64(1 + w.steps.IntN(40))
	p := partition(id)
	end := min(w.broker.seen(p)+n, w.limit(p))
	w.record("%s grows to %d", p, end)
	w.broker.reveal(p, end)
}

// limit is up to where a partition may be read under its member's rules.
func (w *world) limit(p pipeline.Partition) int64 {
	m := w.members[int(p.ID)%len(w.members)]
	if w.plan.isGroup() {
		return w.broker.end(p)
	}
	if w.plan.reload && m.phase == 0 {
		return w.plan.boundary(int(p.ID))
	}
	return w.broker.end(p)
}

// changeRules gives a member other rules, once all of its partitions are read
// up to the boundary and that is durable: the rules that a record meets are then those
// of the uninterrupted run.
func (m *member) changeRules() {
	if !m.w.plan.reload || m.phase != 0 || !m.alive() {
		return
	}
	durable := m.durable()
	for _, p := range m.parts {
		if durable[p] != m.w.plan.boundary(int(p.ID)) {
			return
		}
	}
	// One that crashes on the way may start with either, but alerts that wait
	// for look-ups need the rules that made them.
	other := m.w.steps.IntN(2) == 0
	if m.reload(1) || other && !m.pending() {
		m.phase = 1
	}
}

// faultOf draws a fault.
func (w *world) faultOf(kinds ...faultKind) fault {
	f := fault{kind: kinds[w.steps.IntN(len(kinds))]}
	if w.steps.IntN(2) == 0 {
		f.slow = time.Duration(w.steps.IntN(3000)) * time.Millisecond
	}
	return f
}

func (w *world) breakSink(m *member) {
	name := append(sinkNames[:len(sinkNames):len(sinkNames)], outbox.DeadLettersName)[w.steps.IntN(len(sinkNames)+1)]
	f := w.faultOf(faultNone, faultRefuses, faultForgets, faultPart)
	w.record("member %d: sink %s has fault %v", m.index, name, f)
	m.faults.set(func() { m.faults.sinks[name] = f })
}

func (w *world) breakCommits(m *member) {
	f := w.faultOf(faultNone, faultRefuses, faultForgets)
	w.record("member %d: commits have fault %v", m.index, f)
	m.faults.set(func() { m.faults.commits = f })
}

// recover ends all that is wrong, and waits until everything is through.
func (w *world) recover() {
	w.record("everything is well again")
	for _, m := range w.members {
		m.faults.end()
		m.faults.hear(true)
		m.disk.fill(false)
		if m.alive() {
			m.proc.disarm()
		}
		if !m.alive() { // also one that has crashed just now
			m.start()
		}
	}
	for id := range w.plan.partitions {
		w.broker.reveal(partition(id), w.limit(partition(id)))
	}
	for _, m := range w.members {
		if w.plan.reload && m.phase == 0 {
			if !w.settle(m.throughRules) {
				w.fail("member %d does not come to where its rules change", m.index)
				return
			}
			m.changeRules()
			if m.phase == 0 {
				w.fail("member %d does not change its rules", m.index)
				return
			}
		}
	}
	for id := range w.plan.partitions {
		w.broker.reveal(partition(id), w.limit(partition(id)))
	}
	if w.plan.isGroup() {
		w.rebalance(true)
	}
	if !w.settle(w.through) {
		w.fail("not everything comes through: %s", w.missing())
	}
}

// settle waits until something holds, for as long as patience.
func (w *world) settle(holds func() bool) bool {
	for began := time.Now(); !holds(); {
		if time.Since(began) > patience || w.isFailed() {
			return false
		}
		time.Sleep(time.Second)
	}
	return true
}

// throughRules tells whether all is durable up to where the rules change.
func (m *member) throughRules() bool {
	durable := m.durable()
	for _, p := range m.parts {
		if durable[p] != m.w.plan.boundary(int(p.ID)) {
			return false
		}
	}
	return true
}

func (w *world) through() bool { return w.missing() == "" }

// finish stops all processes, and waits for those that crashed.
func (w *world) finish() {
	for _, m := range w.members {
		if m.alive() {
			m.stop()
		}
		m.alive() // buries
	}
	for _, pr := range w.zombies {
		select {
		case <-pr.done: // what it says does not matter any more
		case <-time.After(patience):
			w.fail("member %d, life %d does not end after its crash", pr.member.index, pr.life)
		}
	}
}
