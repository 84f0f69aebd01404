package workload

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Kind says which parser a line is for: the value of the label `type`.
type Kind string

// The kinds of line.
const (
	Syslog Kind = "syslog"
	Nginx  Kind = "nginx"
)

// Line is one line of a log, without its line end.
type Line struct {
	Kind Kind
	Time time.Time
	Text string
	// Key is the address the line is about: what a producer keys records by.
	Key string
}

// Options shape a stream.
type Options struct {
	Seed  uint64
	Start time.Time     // of the first line
	Step  time.Duration // mean time between lines; 10ms when 0
	// Attacks is the share of lines that attackers cause, from 0 to 1; 0.02 when 0.
	Attacks float64
	// Visitors is how many harmless addresses there are; 5,000 when 0.
	Visitors int
	// Syslog is the share of SSH lines, from 0 to 1; 0.3 when 0.
	Syslog float64
}

// Stream gives lines for ever. It is not safe for concurrent use.
type Stream struct {
	o         Options
	rng       *rand.Rand
	now       time.Time
	attackers []attacker
	pid       int
}

// attacker is one campaign: an address and what it does, step by step.
type attacker struct {
	addr string
	step int
	left int
	next func(s *Stream, a *attacker) Line
}

// New returns a stream.
func New(o Options) *Stream {
	if o.Step == 0 {
		o.Step = 10 * time.Millisecond
	}
	if o.Attacks == 0 {
		o.Attacks = 0.02
	}
	if o.Visitors == 0 {
		o.Visitors = 5000
	}
	if o.Syslog == 0 {
		o.Syslog = 0.3
	}
	return &Stream{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x51c3)), now: o.Start, pid: 1000}
}

// Next returns the next line.
func (s *Stream) Next() Line {
	s.now = s.now.Add(time.Duration(s.rng.Int64N(int64(2 * s.o.Step))))
	if s.rng.Float64() < s.o.Attacks {
		return s.attack()
	}
	if s.rng.Float64() < s.o.Syslog {
		return s.ssh()
	}
	return s.visit()
}

// attack continues one of a few campaigns that run side by side.
func (s *Stream) attack() Line {
	const campaigns = 4
	for len(s.attackers) < campaigns {
		s.attackers = append(s.attackers, s.newAttacker())
	}
	i := s.rng.IntN(campaigns)
	a := &s.attackers[i]
	l := a.next(s, a)
	a.step++
	if a.left--; a.left == 0 {
		s.attackers[i] = s.newAttacker()
	}
	return l
}

func (s *Stream) newAttacker() attacker {
	a := attacker{addr: s.attackerAddr(), left: 8 + s.rng.IntN(40)}
	moves := []func(*Stream, *attacker) Line{bruteForce, enumerate, probe, traverse, scan}
	a.next = moves[s.rng.IntN(len(moves))]
	return a
}

// attackerAddr is an address of the documentation ranges, IPv6 as often as a dual-stack fleet sees it.
func (s *Stream) attackerAddr() string {
	switch n := s.rng.IntN(10); {
	case n < 3:
		return fmt.Sprintf("2001:db8:%x:%x::%x", s.rng.IntN(1<<16), s.rng.IntN(1<<16), 1+s.rng.IntN(1<<16-1))
	case n < 6:
		return fmt.Sprintf("198.51.100.%d", 1+s.rng.IntN(254))
	}
	return fmt.Sprintf("203.0.113.%d", 1+s.rng.IntN(254))
}

// visitorAddr is a harmless address; a few come back often, most rarely.
func (s *Stream) visitorAddr() string {
	n := int(float64(s.o.Visitors) * s.rng.Float64() * s.rng.Float64())
	if n%5 == 0 {
		return fmt.Sprintf("2001:db8:ffff::%x", n+1)
	}
	return fmt.Sprintf("198.18.%d.%d", n>>8&0xff, n&0xff)
}

func pick[T any](s *Stream, list []T) T { return list[s.rng.IntN(len(list))] }
