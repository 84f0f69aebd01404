package rules

import (
	"net/netip"

	"github.com/goccy/go-yaml/ast"
)

// The keys of each mapping of a parser file: those of CrowdSec.
var (
	nodeKeys = []string{"name", "description", "author", "references", "format", "debug", "profiling", "stage", "filter", "onsuccess",
		"pattern_syntax", "grok", "statics", "stash", "whitelist", "data", "nodes", "version", "usage", "labels"}
	grokKeys      = []string{"name", "pattern", "apply_on", "expression", "statics"}
	staticKeys    = []string{"meta", "parsed", "enriched", "target", "method", "value", "expression"}
	stashKeys     = []string{"name", "key", "value", "ttl", "size", "strategy"}
	whitelistKeys = []string{"reason", "ip", "cidr", "expression"}
	dataKeys      = []string{"source_url", "dest_file", "type", "cache", "strategy", "size", "ttl"}
)

// defaultStashSize is the number of entries of a stash that names none,
// CrowdSec's.
const defaultStashSize = 100

// node reads a parser node and the nodes below it.
func (d *decoder) node(body ast.Node, stage string) *Node {
	n := &Node{Pos: d.pos(body), Stage: stage}
	top, read := stage != "", 0
	d.fields(body, "a parser node", nodeKeys, func(key string, v ast.Node) {
		read++
		switch key {
		case "name":
			n.Name = d.str(v, key)
			if top {
				d.rule = n.Name
			}
		case "description":
			n.Description = d.str(v, key)
		case "author":
			n.Author = d.str(v, key)
		case "format":
			n.Format = d.str(v, key)
		case "debug":
			n.Debug = d.boolean(v, key)
		case "filter":
			n.Filter = d.text(v, key)
		case "onsuccess":
			n.OnSuccess = d.onSuccess(v)
		case "pattern_syntax":
			n.PatternSyntax = d.patterns(v)
		case "grok":
			n.Grok = d.grok(v)
		case "statics":
			n.Statics = d.statics(v)
		case "stash":
			d.list(v, key, func(one ast.Node) { n.Stash = append(n.Stash, d.stash(one)) })
		case "whitelist":
			n.Whitelist = d.whitelist(v)
		case "data":
			n.Data = d.data(v)
		case "nodes":
			d.list(v, key, func(one ast.Node) { n.Nodes = append(n.Nodes, d.node(one, "")) })
		}
	})
	d.checkNode(n, top, read)
	return n
}

func (d *decoder) onSuccess(v ast.Node) string {
	t := d.text(v, "onsuccess")
	switch t.Value {
	case "", "next_stage", "continue":
	default:
		d.fail(t.Pos, "onsuccess must be next_stage or continue, not %q", cut(t.Value, 60)).Suggestion =
			nearest(t.Value, []string{"next_stage", "continue"})
	}
	return t.Value
}

func (d *decoder) patterns(v ast.Node) []Pattern {
	var out []Pattern
	for _, mv := range d.pairs(v, "pattern_syntax") {
		out = append(out, Pattern{Name: keyText(mv), Text: d.text(mv.Value, "a pattern")})
	}
	return out
}

func (d *decoder) grok(v ast.Node) *Grok {
	g := &Grok{Pos: d.pos(v)}
	d.fields(v, "grok", grokKeys, func(key string, v ast.Node) {
		switch key {
		case "name":
			g.Name = d.text(v, key)
		case "pattern":
			g.Pattern = d.text(v, key)
		case "apply_on":
			g.ApplyOn = d.text(v, key)
		case "expression":
			g.Expression = d.text(v, key)
		case "statics":
			g.Statics = d.statics(v)
		}
	})
	d.checkGrok(g)
	return g
}

func (d *decoder) statics(v ast.Node) []Static {
	var out []Static
	d.list(v, "statics", func(one ast.Node) {
		s := Static{Pos: d.pos(one)}
		d.fields(one, "a static", staticKeys, func(key string, v ast.Node) {
			switch key {
			case "meta":
				s.Meta = d.str(v, key)
			case "parsed":
				s.Parsed = d.str(v, key)
			case "enriched":
				s.Enriched = d.str(v, key)
			case "target":
				s.Target = d.str(v, key)
			case "method":
				s.Method = d.str(v, key)
			case "value":
				s.Value = d.text(v, key)
			case "expression":
				s.Expression = d.text(v, key)
			}
		})
		d.checkStatic(&s)
		out = append(out, s)
	})
	return out
}

func (d *decoder) stash(one ast.Node) Stash {
	s := Stash{Pos: d.pos(one)}
	ttlSet := false
	d.fields(one, "a stash", stashKeys, func(key string, v ast.Node) {
		switch key {
		case "name":
			s.Name = d.str(v, key)
		case "key":
			s.Key = d.text(v, key)
		case "value":
			s.Value = d.text(v, key)
		case "ttl":
			s.TTL, ttlSet = d.duration(v, key), true
		case "size":
			s.Size = d.integer(v, key)
		case "strategy":
			s.Strategy = d.strategy(v)
		}
	})
	if s.Size == 0 {
		s.Size = defaultStashSize
	}
	d.checkStash(&s, ttlSet)
	return s
}

// strategy reads which entry a full cache drops.
func (d *decoder) strategy(v ast.Node) string {
	t := d.text(v, "strategy")
	switch t.Value {
	case "", "LRU", "LFU", "ARC":
	default:
		d.fail(t.Pos, "strategy must be LRU, LFU or ARC, not %q", cut(t.Value, 60))
	}
	return t.Value
}

func (d *decoder) whitelist(v ast.Node) *Whitelist {
	w := &Whitelist{Pos: d.pos(v)}
	d.fields(v, "whitelist", whitelistKeys, func(key string, v ast.Node) {
		switch key {
		case "reason":
			w.Reason = d.str(v, key)
		case "ip":
			w.IPs = d.texts(v, key)
		case "cidr":
			w.CIDRs = d.texts(v, key)
		case "expression":
			w.Expressions = d.texts(v, key)
		}
	})
	for _, t := range w.IPs {
		if _, err := netip.ParseAddr(t.Value); err != nil {
			d.fail(t.Pos, "whitelist ip %q is not an IP address", cut(t.Value, 60))
		}
	}
	for _, t := range w.CIDRs {
		if _, err := netip.ParsePrefix(t.Value); err != nil {
			d.fail(t.Pos, "whitelist cidr %q is not a range such as 192.0.2.0/24 or 2001:db8::/32", cut(t.Value, 60))
		}
	}
	return w
}

func (d *decoder) data(v ast.Node) []Data {
	var out []Data
	d.list(v, "data", func(one ast.Node) {
		e := Data{Pos: d.pos(one)}
		d.fields(one, "an entry of data", dataKeys, func(key string, v ast.Node) {
			switch key {
			case "source_url":
				e.SourceURL = d.str(v, key)
			case "dest_file":
				e.DestFile = d.str(v, key)
			case "type":
				e.Type = d.str(v, key)
			case "cache":
				on := d.boolean(v, key)
				e.Cache = &on
			case "strategy":
				e.Strategy = d.strategy(v)
			case "size":
				e.Size = d.integer(v, key)
			case "ttl":
				e.TTL = d.duration(v, key)
			}
		})
		d.checkData(&e)
		out = append(out, e)
	})
	return out
}
