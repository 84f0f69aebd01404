package nats

import "sync"

// ack is how one message is acknowledged.
type ack struct {
	sequence uint64
	reply    string // the subject that takes the acknowledgement
}

// acks are the messages that were delivered to the consumer as it is and that
// Commit is to acknowledge, by sequence. Any goroutine may use it.
type acks struct {
	mu   sync.Mutex
	all  bool // an acknowledgement is one of all before it, too
	list []ack
}

// reset forgets all, for a consumer that was put somewhere else.
func (a *acks) reset(all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all, a.list = all, nil
}

// add remembers a message, unless it is there: the server may deliver it again.
func (a *acks) add(sequence uint64, reply string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.list); n == 0 || a.list[n-1].sequence < sequence {
		a.list = append(a.list, ack{sequence, reply})
	}
}

// before takes out all before a sequence and returns where to acknowledge them.
func (a *acks) before(sequence uint64) (replies []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for n < len(a.list) && a.list[n].sequence < sequence {
		n++
	}
	for i, one := range a.list[:n] {
		if !a.all || i == n-1 {
			replies = append(replies, one.reply)
		}
	}
	if a.list = a.list[n:]; len(a.list) == 0 {
		a.list = nil
	}
	return replies
}
