package grok

import (
	"errors"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what a node of the tree does.
type kind uint8

const (
	kindEmpty  kind = iota
	kindFail        // matches nothing
	kindLit         // the string lit
	kindRun         // min to max characters of a class (max -1: any number)
	kindCat         // subs one after the other
	kindAlt         // the first of subs that lets the rest match
	kindOpt         // sub, or nothing
	kindStar        // sub any number of times; sub is never empty
	kindPlus        // sub at least once; sub is never empty
	kindCap         // sub, captured as slot
	kindAssert      // an empty-width condition
)

// node is a regular expression, prepared for compile. Nodes are shared and never changed once made.
type node struct {
	kind     kind
	lazy     bool
	assert   syntax.EmptyOp
	slot     int
	min, max int
	lit      string
	class    *class
	sub      []*node
}

// errPlainOnly says that an expression is left to the plain matcher.
var errPlainOnly = errors.New("left to the plain matcher")

// builder turns the standard parser's tree into ours.
type builder struct {
	slots   map[string]int // group name → capture
	classes map[string]*class
	size    int
}

// class returns the class of pairs of first and last characters, one for all its uses.
func (b *builder) class(ranges ...rune) *class {
	key := string(ranges)
	known, ok := b.classes[key]
	if !ok {
		known = newClass(ranges)
		b.classes[key] = known
	}
	return known
}

// maxNodes bounds the tree of an expression; larger ones are matched plainly.
const maxNodes = 200000

// build returns the tree of an expression, or errPlainOnly when it holds a
// loop around something that can be empty (the standard regexp has rules of
// its own for these) or grows too large.
func (b *builder) build(re *syntax.Regexp) (*node, error) {
	if b.size++; b.size > maxNodes {
		return nil, errPlainOnly
	}
	switch re.Op {
	case syntax.OpNoMatch:
		return &node{kind: kindFail}, nil
	case syntax.OpEmptyMatch:
		return &node{kind: kindEmpty}, nil
	case syntax.OpLiteral:
		return b.literal(re), nil
	case syntax.OpCharClass:
		return one(b.class(re.Rune...)), nil
	case syntax.OpAnyCharNotNL:
		return one(b.class(0, '\n'-1, '\n'+1, unicode.MaxRune)), nil
	case syntax.OpAnyChar:
		return one(b.class(0, unicode.MaxRune)), nil
	case syntax.OpBeginLine:
		return &node{kind: kindAssert, assert: syntax.EmptyBeginLine}, nil
	case syntax.OpEndLine:
		return &node{kind: kindAssert, assert: syntax.EmptyEndLine}, nil
	case syntax.OpBeginText:
		return &node{kind: kindAssert, assert: syntax.EmptyBeginText}, nil
	case syntax.OpEndText:
		return &node{kind: kindAssert, assert: syntax.EmptyEndText}, nil
	case syntax.OpWordBoundary:
		return &node{kind: kindAssert, assert: syntax.EmptyWordBoundary}, nil
	case syntax.OpNoWordBoundary:
		return &node{kind: kindAssert, assert: syntax.EmptyNoWordBoundary}, nil
	}
	subs := make([]*node, len(re.Sub))
	for i, sub := range re.Sub {
		n, err := b.build(sub)
		if err != nil {
			return nil, err
		}
		subs[i] = n
	}
	switch re.Op {
	case syntax.OpCapture:
		if slot, ok := b.slots[re.Name]; ok {
			return &node{kind: kindCap, slot: slot, sub: subs}, nil
		}
		return subs[0], nil
	case syntax.OpConcat:
		return cat(subs), nil
	case syntax.OpAlternate:
		return alternate(subs), nil
	case syntax.OpStar:
		return b.repeat(subs[0], 0, -1, re)
	case syntax.OpPlus:
		return b.repeat(subs[0], 1, -1, re)
	case syntax.OpQuest:
		return b.repeat(subs[0], 0, 1, re)
	case syntax.OpRepeat:
		return b.repeat(subs[0], re.Min, re.Max, re)
	}
	return nil, errPlainOnly
}

// one is a single character of a class.
func one(c *class) *node { return &node{kind: kindRun, min: 1, max: 1, class: c} }

// literal makes a literal; characters that stand for more than one
// sequence of bytes become classes.
func (b *builder) literal(re *syntax.Regexp) *node {
	var subs []*node
	for _, r := range re.Rune {
		folds := re.Flags&syntax.FoldCase != 0 && unicode.SimpleFold(r) != r
		if !folds && r != utf8.RuneError {
			subs = append(subs, &node{kind: kindLit, lit: string(r)})
			continue
		}
		var ranges []rune
		for f := r; ; {
			ranges = append(ranges, f, f)
			if f = unicode.SimpleFold(f); !folds || f == r {
				break
			}
		}
		subs = append(subs, one(b.class(sortPairs(ranges)...)))
	}
	return cat(subs)
}

// sortPairs sorts a few single-character ranges.
func sortPairs(ranges []rune) []rune {
	for i := 2; i < len(ranges); i += 2 {
		for j := i; j > 0 && ranges[j] < ranges[j-2]; j -= 2 {
			ranges[j], ranges[j-2] = ranges[j-2], ranges[j]
			ranges[j+1], ranges[j-1] = ranges[j-1], ranges[j+1]
		}
	}
	return ranges
}

// cat joins nodes, merging literals that meet.
func cat(subs []*node) *node {
	var out []*node
	var add func(n *node)
	add = func(n *node) {
		switch {
		case n.kind == kindEmpty:
		case n.kind == kindCat:
			for _, sub := range n.sub {
				add(sub)
			}
		case n.kind == kindLit && len(out) > 0 && out[len(out)-1].kind == kindLit:
			out[len(out)-1] = &node{kind: kindLit, lit: out[len(out)-1].lit + n.lit}
		default:
			out = append(out, n)
		}
	}
	for _, n := range subs {
		add(n)
	}
	switch len(out) {
	case 0:
		return &node{kind: kindEmpty}
	case 1:
		return out[0]
	}
	return &node{kind: kindCat, sub: out}
}

// repeat makes min to max repetitions of a node (max -1: any number). Counts
// are written out, as the standard regexp does.
func (b *builder) repeat(n *node, min, max int, re *syntax.Regexp) (*node, error) {
	lazy := re.Flags&syntax.NonGreedy != 0
	if n.kind == kindLit && utf8.RuneCountInString(n.lit) == 1 {
		r, _ := utf8.DecodeRuneInString(n.lit)
		n = one(b.class(r, r))
	}
	if n.kind == kindRun && n.min == 1 && n.max == 1 {
		return &node{kind: kindRun, min: min, max: max, class: n.class, lazy: lazy}, nil
	}
	if max < 0 && nullable(n) {
		return nil, errPlainOnly
	}
	copies := min
	if max > copies {
		copies = max
	}
	if b.size += copies * weight(n); b.size > maxNodes {
		return nil, errPlainOnly
	}
	var subs []*node
	switch {
	case max >= 0:
		for range min {
			subs = append(subs, n)
		}
		var rest *node
		for range max - min {
			body := n
			if rest != nil {
				body = cat([]*node{n, rest})
			}
			rest = &node{kind: kindOpt, lazy: lazy, sub: []*node{body}}
		}
		if rest != nil {
			subs = append(subs, rest)
		}
	case min == 0:
		subs = append(subs, &node{kind: kindStar, lazy: lazy, sub: []*node{n}})
	default:
		for range min - 1 {
			subs = append(subs, n)
		}
		subs = append(subs, &node{kind: kindPlus, lazy: lazy, sub: []*node{n}})
	}
	return cat(subs), nil
}

// weight is the number of nodes in a tree.
func weight(n *node) int {
	w := 1
	for _, sub := range n.sub {
		w += weight(sub)
	}
	return w
}

// nullable tells whether a node can match without taking a character.
func nullable(n *node) bool {
	switch n.kind {
	case kindEmpty, kindAssert, kindOpt, kindStar:
		return true
	case kindRun:
		return n.min == 0
	case kindCat, kindCap, kindPlus:
		for _, sub := range n.sub {
			if !nullable(sub) {
				return false
			}
		}
		return true
	case kindAlt:
		for _, sub := range n.sub {
			if nullable(sub) {
				return true
			}
		}
	}
	return false
}

// alternate makes an alternation and takes out what adjacent branches begin
// with: (?:h:h:x|h:y) becomes h:(?:h:x|y). That keeps the order of preference
// because the part taken out can match in one way only.
func alternate(branches []*node) *node {
	var out []*node
	for i := 0; i < len(branches); {
		common, j := 0, i+1
		for ; j < len(branches); j++ {
			k := commonPrefix(parts(branches[i]), parts(branches[j]))
			if k == 0 {
				break
			}
			if common == 0 || k < common {
				common = k
			}
		}
		if common == 0 {
			out = append(out, branches[i])
			i++
			continue
		}
		var rests []*node
		for _, branch := range branches[i:j] {
			rests = append(rests, cat(parts(branch)[common:]))
		}
		head := parts(branches[i])[:common]
		out = append(out, cat(append(append([]*node(nil), head...), alternate(rests))))
		i = j
	}
	if len(out) == 1 {
		return out[0]
	}
	return &node{kind: kindAlt, sub: out}
}

// parts returns a node as a sequence.
func parts(n *node) []*node {
	switch n.kind {
	case kindCat:
		return n.sub
	case kindEmpty:
		return nil
	}
	return []*node{n}
}

// commonPrefix counts the nodes at the start of both sequences that are the
// same and together match in one way at most.
func commonPrefix(a, b []*node) int {
	n := 0
	for n < len(a) && n < len(b) && same(a[n], b[n]) {
		n++
	}
	for k := range n {
		if a[k].kind == kindLit || a[k].kind == kindAssert || a[k].kind == kindRun && a[k].min == a[k].max {
			continue
		}
		// A run of varying length ends in one place only when what follows it cannot be part of it.
		if a[k].kind == kindRun && k+1 < n && !nullable(a[k+1]) {
			if f := firstOf(a[k+1], first{}); !a[k].class.meets(&f) {
				continue
			}
		}
		return k
	}
	return n
}

// same tells whether two nodes are alike. Nodes that hold others are never taken to be.
func same(a, b *node) bool {
	if a.kind != b.kind || a.lazy != b.lazy {
		return false
	}
	switch a.kind {
	case kindLit:
		return a.lit == b.lit
	case kindAssert:
		return a.assert == b.assert
	case kindRun:
		return a.min == b.min && a.max == b.max && a.class.equal(b.class)
	}
	return false
}

// firstOf returns what a node followed by something can begin with.
func firstOf(n *node, follow first) first {
	switch n.kind {
	case kindEmpty:
		return follow
	case kindFail:
		return first{}
	case kindLit:
		var f first
		f.add(n.lit[0])
		return f
	case kindRun:
		if n.max == 0 {
			return follow
		}
		f := n.class.begins()
		if n.min == 0 {
			f = f.union(follow)
		}
		return f
	case kindCat:
		for i := len(n.sub) - 1; i >= 0; i-- {
			follow = firstOf(n.sub[i], follow)
		}
		return follow
	case kindAlt:
		var f first
		for _, sub := range n.sub {
			f = f.union(firstOf(sub, follow))
		}
		return f
	case kindOpt:
		return firstOf(n.sub[0], follow).union(follow)
	case kindStar:
		return firstOf(n.sub[0], anything()).union(follow)
	case kindPlus:
		return firstOf(n.sub[0], anything())
	case kindCap:
		return firstOf(n.sub[0], follow)
	case kindAssert:
		return firstOfAssert(n.assert, follow)
	}
	return anything()
}

func firstOfAssert(op syntax.EmptyOp, follow first) first {
	switch op {
	case syntax.EmptyEndText:
		return first{end: follow.end}
	case syntax.EmptyEndLine:
		f := first{end: follow.end}
		if follow.has('\n') {
			f.add('\n')
		}
		return f
	}
	return follow
}

// required lists the literals that every match of a tree holds, in order.
func required(n *node, out []string) []string {
	switch n.kind {
	case kindLit:
		return append(out, n.lit)
	case kindCap, kindPlus:
		return required(n.sub[0], out)
	case kindCat:
		for _, sub := range n.sub {
			out = required(sub, out)
		}
	}
	return out
}

// distinct drops the strings that others hold.
func distinct(all []string) []string {
	var out []string
	for i, a := range all {
		redundant := false
		for j, b := range all {
			if i != j && strings.Contains(b, a) && (a != b || j < i) {
				redundant = true
				break
			}
		}
		if !redundant {
			out = append(out, a)
		}
	}
	return out
}
