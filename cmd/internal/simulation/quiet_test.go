package simulation

// uninterrupted is the plan of the run that all others are held to: one
// process, one worker, one shard, no checkpoint before the end.
func (p plan) uninterrupted() plan {
	p.oracle, p.members, p.racy, p.real = true, 1, false, false
	return p
}

// runQuietly lives through a plan in which nothing happens.
func (w *world) runQuietly() {
	m := w.members[0]
	defer w.finish()
	m.start()
	if m.proc == nil {
		return
	}
	for _, p := range m.parts {
		w.broker.reveal(p, w.limit(p))
	}
	w.rest()
	if w.plan.reload {
		m.reload(1)
		m.phase = 1
		for _, p := range m.parts {
			w.broker.reveal(p, w.limit(p))
		}
		w.rest()
	}
}
