package sources

// Tenure is a time in which one member read a partition and committed its offsets.
type Tenure struct {
	// Began is the offset that the group stood at when the tenure began, -1
	// when none was committed.
	Began int64
	// Member is the Name of the member's Keeper.
	Member string
	// Own says that it was a tenure of the state that is asking.
	Own bool
}

// HistoryLength is how many tenures of a partition are remembered.
const HistoryLength = 8

// Accepted tells whether the group accepted a commit of this state's at
// position, though the answer was never heard, as after a crash. history are the
// partition's tenures, newest first, up to HistoryLength of them, and committed
// is the offset that the group stands at, -1 for none.
//
//   - (true, true): it was. What the records before position caused may be released.
//   - (false, true): it was not, and another tenure went on from an earlier
//     offset: what this state did up to position was done again by others.
//   - (false, false): nobody knows, or it was not and nobody has gone on either.
//
// The reasoning: a tenure is written down before its first record is read, so
// every one that mattered is in the history. Offsets only grow within a tenure,
// and a commit under an older tenure is refused. So all that a tenure had
// accepted is at or before the offset at which the next one began, and a commit
// that was answered by nobody is settled by one comparison. A smaller commit
// that got lost does not matter when a later one of its tenure was accepted.
// The tenure of the commit is the newest of our own that began at or before
// position: one that began after it has seen what became of it.
func Accepted(history []Tenure, committed, position int64) (accepted, known bool) {
	mine := -1
	for i, t := range history {
		if t.Own && t.Began <= position {
			mine = i
			break
		}
	}
	switch {
	case mine > 0: // the tenure after ours
		accepted = history[mine-1].Began >= position
		return accepted, true
	case mine == 0: // none came after ours
		accepted = committed >= position
		return accepted, accepted
	case len(history) == 0: // committed by a member that writes no history, such as one with static assignment
		accepted = committed == position
		return accepted, accepted
	}
	// Ours was never written, or is forgotten: it came before the oldest, or had nothing accepted.
	oldest := history[len(history)-1].Began
	switch {
	case oldest < position:
		return false, true
	case oldest == position && len(history) < HistoryLength:
		return true, true
	}
	return false, false
}
