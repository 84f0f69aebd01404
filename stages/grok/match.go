package grok

import (
	"strings"
	"unicode/utf8"
)

// Scratch is a goroutine's working memory, usable with every Pattern. The
// zero value is ready for use.
type Scratch struct {
	stack []frame
	slots []int // the positions of the captures, -1 where there is none
	steps int   // what is left of the search's budget
	// tried holds a bit for each (decision, position) that was reached since
	// the search began to look long: coming there again leads nowhere, as all
	// ways on from it have failed or are still to be tried. Empty before.
	tried []uint64
}

// frame is a decision that can be taken back. Its meaning depends on the
// instruction at pc; a negative pc restores slot -1-pc to from.
type frame struct {
	pc       int32
	way      int32 // opAlt: the next branch; opLazy: the characters taken
	from, to int   // opGreedy: the run may end at from ≤ e < to; else from is the position
}

const (
	// stepsPerByte bounds the work on a line: an expression that needs more
	// backtracking goes to the plain matcher, which is linear.
	stepsPerByte = 64
	minSteps     = 1 << 14
	// triedAfter is the number of decisions taken back after which the search
	// remembers where it has been, in at most maxTried bits.
	triedAfter = 256
	maxTried   = 1 << 23
	// maxFrames bounds the stack, keptFrames what a Scratch keeps of it.
	maxFrames  = 1 << 20
	keptFrames = 1 << 14
)

// verdict is the outcome of a search.
type verdict uint8

const (
	noMatch verdict = iota
	matched
	gaveUp // the budget is spent: the plain matcher decides
)

// search finds the leftmost match. On success scratch.slots holds the captures.
func (p *program) search(s string, scratch *Scratch) verdict {
	if p.needed != "" && !strings.Contains(s, p.needed) {
		return noMatch
	}
	if cap(scratch.slots) < p.slots {
		scratch.slots = make([]int, p.slots, 2*p.slots)
	}
	scratch.slots = scratch.slots[:p.slots]
	scratch.steps = minSteps + stepsPerByte*len(s)
	scratch.tried = scratch.tried[:0]
	if p.anchored {
		return p.attempt(s, 0, scratch)
	}
	return p.searchAll(s, scratch)
}

// searchAll tries each position at which a match can begin. When the first
// attempt failed, the literals that a match holds say how far to go on.
func (p *program) searchAll(s string, scratch *Scratch) verdict {
	begin := p.insts[p.start].first
	last := -1
	for at := 0; at <= len(s); {
		if at = p.nextStart(s, at, begin); at < 0 || last >= 0 && at > last {
			return noMatch
		}
		if v := p.attempt(s, at, scratch); v != noMatch {
			return v
		}
		if scratch.steps < 0 {
			return gaveUp
		}
		if last < 0 {
			if last = p.lastStart(s); last < 0 {
				return noMatch
			}
		}
		at = p.skip(s, at)
	}
	return noMatch
}

// lastStart returns the last position where a match can begin, or -1: the
// literals that a match holds must follow each other behind it.
func (p *program) lastStart(s string) int {
	last := len(s)
	for i := len(p.chain) - 1; i >= 0 && last >= 0; i-- {
		lit := p.chain[i]
		if len(lit) == 1 {
			last = strings.LastIndexByte(s[:last], lit[0])
		} else {
			last = strings.LastIndex(s[:last], lit)
		}
	}
	return last
}

// nextStart returns the first position from at on where a match can begin, or -1.
func (p *program) nextStart(s string, at int, begin *first) int {
	if p.prefix != "" {
		i := strings.Index(s[at:], p.prefix)
		if i < 0 {
			return -1
		}
		return at + i
	}
	for ; at < len(s); at++ {
		if begin.has(s[at]) && (s[at] < utf8.RuneSelf || isBoundary(s, at)) {
			return at
		}
	}
	if begin.end {
		return at
	}
	return -1
}

// skip returns the next position worth an attempt after one at at failed.
func (p *program) skip(s string, at int) int {
	if p.lead == nil || p.leadWord && !wordBorder(s, at) {
		return at + 1
	}
	end := at
	for end < len(s) {
		width := p.lead.step(s, end)
		if width == 0 {
			break
		}
		end += width
	}
	return max(at+1, end)
}

// wordBorder is \b.
func wordBorder(s string, p int) bool {
	before := p > 0 && isWordByte(s[p-1])
	return before != (p < len(s) && isWordByte(s[p]))
}

// attempt matches at one position.
func (p *program) attempt(s string, at int, scratch *Scratch) verdict {
	for i := range scratch.slots {
		scratch.slots[i] = -1
	}
	v := p.run(s, at, scratch)
	if cap(scratch.stack) > keptFrames {
		scratch.stack = nil
	}
	return v
}

// run is the matcher: it follows the preferred way and, when that fails,
// takes back the latest decision. Each way is tried in the order in which the
// standard regexp prefers them, so that the first success is its match.
func (p *program) run(s string, at int, scratch *Scratch) verdict {
	insts := p.insts
	stack := scratch.stack[:0]
	slots := scratch.slots
	tried := scratch.tried
	remember := scratch.steps - triedAfter
	pc := p.start
	for {
		in := &insts[pc]
		ok := false
		if len(tried) > 0 && in.decision > 0 && again(tried, (int(in.decision)-1)*(len(s)+1)+at) {
			goto undo
		}
		switch in.op {
		case opMatch:
			scratch.stack = stack
			return matched
		case opByte:
			if ok = at < len(s) && s[at] == in.b; ok {
				at++
			}
		case opLit:
			if ok = len(s)-at >= len(in.lit) && s[at:at+len(in.lit)] == in.lit; ok {
				at += len(in.lit)
			}
		case opOne:
			if at < len(s) {
				width := 0
				if b := s[at]; b >= utf8.RuneSelf {
					width = in.class.step(s, at)
				} else if in.class.member[b] {
					width = 1
				}
				ok = width > 0
				at += width
			}
		case opTakeTo:
			end := strings.IndexByte(s[at:], byte(in.class.stop))
			if end < 0 {
				end = len(s) - at
			}
			ok = end >= int(in.min)
			at += end
			scratch.steps -= end >> 4
		case opTake:
			if _, end := in.scan(s, at); end >= 0 {
				ok = true
				scratch.steps -= (end - at) >> 4
				at = end
			}
		case opGreedy:
			if from, end := in.scan(s, at); end >= 0 {
				scratch.steps -= (end - at) >> 4
				if end = in.back(insts, s, from, end); end >= 0 {
					ok = true
					if end > from {
						stack = append(stack, frame{pc: pc, from: from, to: end})
					}
					at = end
				}
			}
		case opLazy:
			taken := 0
			ok = true
			for ; ok && taken < int(in.min); taken++ {
				width := 0
				if at < len(s) {
					width = in.class.step(s, at)
				}
				ok = width > 0
				at += width
			}
			if ok {
				var end int
				if end, taken = in.forward(insts, s, at, taken); end >= 0 {
					scratch.steps -= (end - at) >> 4
					at = end
					stack = append(stack, frame{pc: pc, from: at, way: int32(taken)})
				} else {
					ok = false
				}
			}
		case opLazyFind:
			begin := at
			for range in.min {
				width := 0
				if begin < len(s) {
					width = in.class.step(s, begin)
				}
				if width == 0 {
					begin = -1
					break
				}
				begin += width
			}
			if begin >= 0 {
				end := in.find(s, begin)
				if end >= 0 {
					ok = true
					at = end
					stack = append(stack, frame{pc: pc, from: at})
				} else {
					end = len(s)
				}
				scratch.steps -= (end - begin) >> 4
			}
		case opTwo:
			if insts[in.next].first.at(s, at) {
				if insts[in.other].first.at(s, at) {
					stack = append(stack, frame{pc: pc, from: at})
				}
				pc = in.next
				continue
			}
			pc = in.other
			continue
		case opAlt:
			if list := in.ways.at(s, at); len(list) > 0 {
				if len(list) > 1 {
					stack = append(stack, frame{pc: pc, from: at, way: 1})
				}
				pc = list[0]
				continue
			}
		case opCap:
			if len(stack) > 0 {
				stack = append(stack, frame{pc: -1 - in.slot, from: slots[in.slot]})
			}
			slots[in.slot] = at
			ok = true
		case opBeginText:
			ok = at == 0
		case opEndText:
			ok = at == len(s)
		case opBeginLine:
			ok = at == 0 || s[at-1] == '\n'
		case opEndLine:
			ok = at == len(s) || s[at] == '\n'
		case opWord:
			ok = wordBorder(s, at)
		case opNoWord:
			ok = !wordBorder(s, at)
		}
		if ok {
			pc = in.next
			continue
		}
	undo:
		if scratch.steps < remember && len(tried) == 0 {
			tried = p.remember(s, scratch)
			remember = -1 << 62
		}
	back:
		for {
			n := len(stack) - 1
			if n < 0 {
				scratch.stack = stack
				return noMatch
			}
			f := &stack[n]
			if f.pc < 0 {
				slots[-1-f.pc] = f.from
				stack = stack[:n]
				continue
			}
			if scratch.steps--; scratch.steps < 0 || n > maxFrames {
				scratch.stack = stack
				return gaveUp
			}
			pc = f.pc
			in := &insts[pc]
			switch in.op {
			case opGreedy:
				end := in.back(insts, s, f.from, f.to-1)
				if end > f.from {
					scratch.steps -= (f.to - end) >> 4
					f.to = end
				} else {
					stack = stack[:n]
				}
				if end >= 0 {
					at, pc = end, in.next
					break back
				}
			case opLazy:
				if width := in.more(s, f.from, int(f.way)); width > 0 {
					end, taken := in.forward(insts, s, f.from+width, int(f.way)+1)
					if end >= 0 {
						scratch.steps -= (end - f.from) >> 4
						f.from, f.way = end, int32(taken)
						at, pc = end, in.next
						break back
					}
				}
				stack = stack[:n]
			case opLazyFind:
				if f.from < len(s) {
					if width := in.class.step(s, f.from); width > 0 {
						if end := in.find(s, f.from+width); end >= 0 {
							scratch.steps -= (end - f.from) >> 4
							f.from = end
							at, pc = end, in.next
							break back
						}
					}
				}
				stack = stack[:n]
			case opTwo:
				at, pc = f.from, in.other
				stack = stack[:n]
				break back
			case opAlt:
				at = f.from
				list := in.ways.at(s, at)
				pc = list[f.way]
				if f.way++; int(f.way) == len(list) {
					stack = stack[:n]
				}
				break back
			}
		}
	}
}

// remember makes the memory of the decisions of a search, empty when it would be too large.
func (p *program) remember(s string, scratch *Scratch) []uint64 {
	bits := p.decisions * (len(s) + 1)
	if bits > maxTried {
		return nil
	}
	words := (bits + 63) / 64
	if cap(scratch.tried) < words {
		scratch.tried = make([]uint64, words)
	}
	scratch.tried = scratch.tried[:words]
	clear(scratch.tried)
	return scratch.tried
}

// again notes a decision at a position, and tells whether it was noted before.
func again(tried []uint64, bit int) bool {
	word, mask := &tried[bit>>6], uint64(1)<<(bit&63)
	if *word&mask != 0 {
		return true
	}
	*word |= mask
	return false
}
