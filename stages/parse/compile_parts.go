package parse

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sluice/pipeline"
	"sluice/stages/enrich"
	"sluice/stages/expression"
	"sluice/stages/grok"
	"sluice/stages/rules"
)

// expression compiles a text, nil when it is empty. Equal texts share a program.
func (c *compiler) expression(what string, t rules.Text) *expression.Program {
	if strings.TrimSpace(t.Value) == "" {
		return nil
	}
	p := c.programs[t.Value]
	if p == nil {
		var err error
		if p, err = c.Compiler.Compile(t.Value); err != nil {
			var e *expression.Error
			if errors.As(err, &e) {
				c.fault(t.At(e.Line, e.Column), what+": "+e.Message, e.Suggestion)
			} else {
				c.fault(t.Pos, what+": "+err.Error(), "")
			}
			return nil
		}
		c.programs[t.Value] = p
	}
	c.stash = c.stash || p.Analysis().Stash
	return p
}

// patterns adds a node's pattern_syntax to its file's library. The first
// definition of a name in a file stands, and the base library's before it.
func (c *compiler) patterns(src *rules.Node) *grok.Library {
	l := c.libraries[src.Pos.File]
	if l == nil {
		l = c.Library.Scope()
		c.libraries[src.Pos.File] = l
	}
	for _, p := range src.PatternSyntax {
		if l.Has(p.Name) {
			continue
		}
		if err := l.Add(p.Name, p.Text.Value); err != nil {
			c.fault(p.Text.Pos, fmt.Sprintf("pattern_syntax %s: %v", p.Name, err), "")
		}
	}
	return l
}

// matcher is a grok.Pattern or, in reference mode, a grok.Reference.
type matcher interface {
	Names() []string
}

// grokStep is a node's grok.
type grokStep struct {
	text    string
	pattern *grok.Pattern
	plain   *grok.Reference
	slots   []pipeline.Slot
	// from is the field that the pattern applies to, or value gives the text.
	from    pipeline.Slot
	always  bool // from is matched also when it is absent: evt.Line.Raw
	value   *expression.Program
	statics []static
}

func (c *compiler) grok(src *rules.Grok, library *grok.Library) *grokStep {
	if src == nil || src.Name.Value == "" && src.Pattern.Value == "" && src.ApplyOn.Value == "" && src.Expression.Value == "" {
		return nil
	}
	if src.Name.Value == "" && src.Pattern.Value == "" {
		c.fault(src.Pos, "grok needs a pattern or a name", "")
		return nil
	}
	if src.ApplyOn.Value == "" && src.Expression.Value == "" {
		c.fault(src.Pos, "grok needs apply_on or expression to say what it matches", "")
		return nil
	}
	g := &grokStep{text: src.Pattern.Value, from: pipeline.NoSlot}
	text := src.Pattern
	if src.Name.Value != "" {
		text = src.Name
		g.text = "%{" + src.Name.Value + "}"
	}
	var m matcher
	var err error
	if c.Reference {
		g.plain, err = library.CompileReference(g.text)
		m = g.plain
	} else {
		g.pattern, err = library.Compile(g.text)
		m = g.pattern
	}
	if err != nil {
		c.fault(text.Pos, "grok: "+err.Error(), "")
		return nil
	}
	for _, name := range m.Names() {
		g.slots = append(g.slots, c.Schema.Slot(pipeline.Parsed, name))
	}
	c.pipeline.captures = max(c.pipeline.captures, len(g.slots))
	switch on := src.ApplyOn.Value; {
	case on == "Line.Raw" || on == "evt.Line.Raw":
		g.from, g.always = pipeline.SlotLineRaw, true
	case strings.HasPrefix(on, "evt."):
		t, ok := resolve(on, c.Schema)
		if !ok || t.slot == pipeline.NoSlot {
			c.fault(src.ApplyOn.Pos, fmt.Sprintf("apply_on: %q names no text of an event; want Line.Raw, a field of evt.Parsed or a path such as evt.Meta.x", on), "")
			return nil
		}
		g.from = t.slot
	case on != "":
		g.from = c.Schema.Slot(pipeline.Parsed, on)
	default:
		g.value = c.expression("grok expression", src.Expression)
	}
	g.statics = c.statics(src.Statics)
	return g
}

// static writes one field.
type static struct {
	value   string              // a fixed value, or
	program *expression.Program // the expression that gives it; nil for neither
	method  enrich.Method
	isCall  bool // method decides, not to
	target
	by          string // for observers: static, or the method's name
	abortReason string
}

func (c *compiler) statics(src []rules.Static) []static {
	out := make([]static, 0, len(src))
	for i := range src {
		if s, ok := c.static(&src[i]); ok {
			out = append(out, s)
		}
	}
	return out
}

// static compiles a static; method goes before parsed, meta, enriched and
// target, and a value before an expression.
func (c *compiler) static(src *rules.Static) (static, bool) {
	s := static{by: "static", value: src.Value.Value}
	if s.value == "" {
		s.program = c.expression("static", src.Expression)
	}
	field := func(space pipeline.Namespace, name string) (static, bool) {
		s.slot = c.Schema.Slot(space, name)
		s.text = pipeline.Field{Space: space, Name: name}.String()
		return c.finish(s), true
	}
	switch {
	case src.Method != "":
		m, ok := c.Enrich.Method(src.Method)
		if !ok {
			known := c.Enrich.MethodNames()
			slices.Sort(known)
			c.fault(src.Pos, fmt.Sprintf("static: there is no method %q; the methods are %s", src.Method, strings.Join(known, ", ")), "")
			return static{}, false
		}
		s.method, s.isCall, s.by, s.slot, s.text = m, true, src.Method, pipeline.NoSlot, src.Method
		return c.finish(s), true
	case src.Parsed != "":
		return field(pipeline.Parsed, src.Parsed)
	case src.Meta != "":
		return field(pipeline.Meta, src.Meta)
	case src.Enriched != "":
		return field(pipeline.Enriched, src.Enriched)
	}
	t, ok := resolve(src.Target, c.Schema)
	if !ok {
		c.pipeline.warnings = append(c.pipeline.warnings, rules.NewError(src.Pos, c.rule,
			fmt.Sprintf("target: an event has no field %q to write to; the static does nothing", src.Target), ""))
		// It still runs: its expression may have effects.
		t = target{slot: pipeline.NoSlot, text: "nothing"}
	}
	s.target = t
	return c.finish(s), true
}

func (c *compiler) finish(s static) static {
	s.abortReason = "unwritable type: " + s.text + " in " + c.rule
	return s
}

// stash stores a value of the event for later ones.
type stash struct {
	name       string
	key, value *expression.Program
	ttl        time.Duration
}

func (c *compiler) stashStep(src *rules.Stash) stash {
	c.stash = true
	s := stash{name: src.Name, ttl: src.TTL}
	s.key = c.expression("stash key", src.Key)
	s.value = c.expression("stash value", src.Value)
	if s.name == "" || src.Key.Value == "" || src.Value.Value == "" || src.TTL <= 0 {
		c.fault(src.Pos, "stash needs a name, a key, a value and a ttl", "")
	}
	def := StashDef{Name: src.Name, Size: src.Size, Strategy: src.Strategy}
	if err := def.complete(); err != nil {
		c.fault(src.Pos, err.Error(), "")
	}
	known := slices.ContainsFunc(c.pipeline.stashes, func(d StashDef) bool { return d.Name == def.Name })
	if !known { // the first definition of a name gives its size
		c.pipeline.stashes = append(c.pipeline.stashes, def)
	}
	return s
}

// whitelist lets events through.
type whitelist struct {
	reason      string
	addrs       []netip.Addr
	prefixes    []netip.Prefix
	expressions []*expression.Program
}

func (c *compiler) whitelist(src *rules.Whitelist) *whitelist {
	if src == nil || len(src.IPs)+len(src.CIDRs)+len(src.Expressions) == 0 {
		return nil
	}
	w := &whitelist{reason: src.Reason}
	c.Schema.Slot(pipeline.Meta, "source_ip")
	for _, t := range src.IPs {
		a, err := netip.ParseAddr(t.Value)
		if err != nil {
			c.fault(t.Pos, fmt.Sprintf("whitelist: %q is no IP address", t.Value), "")
		}
		w.addrs = append(w.addrs, a)
	}
	for _, t := range src.CIDRs {
		p, err := netip.ParsePrefix(t.Value)
		if err != nil {
			c.fault(t.Pos, fmt.Sprintf("whitelist: %q is no network in CIDR notation", t.Value), "")
		}
		w.prefixes = append(w.prefixes, p)
	}
	for _, t := range src.Expressions {
		w.expressions = append(w.expressions, c.expression("whitelist", t))
	}
	return w
}
