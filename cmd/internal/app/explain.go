package app

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/parse"
)

// ExplainOptions say what is explained and how.
type ExplainOptions struct {
	Config *Config
	Type   string
	Labels map[string]string
	Module string // "file" when empty
	Input  io.Reader
	Out    io.Writer
	Colour bool
	// All shows the nodes too whose filter does not hold.
	All      bool
	Received time.Time
	Log      *slog.Logger
}

// Explain runs each line of the input through the parsers and the scenarios'
// filters and writes, as a tree, what each node made of it and which
// scenarios it pours into, with which key.
func Explain(o ExplainOptions) error {
	eng, _, err := o.Config.Compile(o.Log, false)
	if err != nil {
		return err
	}
	if o.Module == "" {
		o.Module = "file"
	}
	decoding := decode.Default()
	decoding.Type, decoding.Labels = o.Type, o.Labels
	e := &explainer{opts: o, out: bufio.NewWriter(o.Out), engine: eng}
	tracer, err := eng.NewTracer(decoding, e)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(o.Input)
	in.Buffer(nil, 16<<20)
	lines := 0
	for in.Scan() {
		text := strings.TrimSuffix(in.Text(), "\r")
		if text == "" {
			continue
		}
		lines++
		e.line(text)
		e.outcome(tracer.Line(text, o.Module, "explain", o.Received))
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("reading the lines to explain: %w", err)
	}
	if lines == 0 {
		return fmt.Errorf("there is no line to explain; give one with --log, a file, or standard input")
	}
	return e.out.Flush()
}

// explainer writes the tree; it is the parsers' observer.
type explainer struct {
	opts   ExplainOptions
	out    *bufio.Writer
	engine *engine.Engine

	stage   string
	skipped int // nodes of the stage whose filter did not hold
	pending []frame
}

// frame is a node that was entered and has not been left.
type frame struct {
	node  *parse.Node
	lines []string // what it did, already indented
	false bool     // its filter did not hold
}

const (
	green, red, grey, bold, reset = "\x1b[32m", "\x1b[31m", "\x1b[90m", "\x1b[1m", "\x1b[0m"
)

func (e *explainer) paint(colour, text string) string {
	if !e.opts.Colour {
		return text
	}
	return colour + text + reset
}

func (e *explainer) line(text string) {
	e.stage, e.skipped, e.pending = "", 0, nil
	fmt.Fprintf(e.out, "%s %s\n", e.paint(bold, "line"), printable(text, 400))
}

// printable keeps control characters of a hostile line off the terminal.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
}

// Enter implements parse.Observer.
func (e *explainer) Enter(n *parse.Node) {
	if n.Stage != e.stage {
		e.endStage()
		e.stage = n.Stage
		fmt.Fprintf(e.out, "  %s\n", e.paint(bold, n.Stage))
	}
	e.pending = append(e.pending, frame{node: n})
}

func (e *explainer) endStage() {
	if e.skipped > 0 {
		fmt.Fprintf(e.out, "    %s\n", e.paint(grey, "… "+nodes(e.skipped)+" whose filter does not hold"))
	}
	e.skipped = 0
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// Observe implements parse.Observer.
func (e *explainer) Observe(n *parse.Node, o parse.Observation) {
	f := &e.pending[len(e.pending)-1]
	f.false = f.false || o.Kind == parse.FilterFalse
	indent := strings.Repeat("  ", n.Depth+4)
	if text := e.describe(n, o); text != "" {
		f.lines = append(f.lines, indent+text)
	}
	if o.Kind == parse.EventAborted { // no node is left any more
		for len(e.pending) > 0 {
			e.pop(false)
		}
	}
}

func (e *explainer) describe(n *parse.Node, o parse.Observation) string {
	value := printable(o.Value, 200)
	switch o.Kind {
	case parse.FilterFalse:
		if o.Err != nil {
			return e.paint(red, "filter failed: "+o.Err.Error())
		}
		return e.paint(grey, "filter does not hold: "+printable(strings.Join(strings.Fields(n.Filter), " "), 200))
	case parse.WhitelistHit:
		return e.paint(green, "whitelisted: "+value)
	case parse.WhitelistMiss:
		return e.paint(grey, "not on the whitelist")
	case parse.GrokMatched:
		return e.paint(green, "grok matched: ") + printable(o.Text, 200)
	case parse.GrokFailed:
		return e.paint(red, "grok failed: ") + printable(o.Text, 200)
	case parse.Stashed:
		return fmt.Sprintf("stashed %s[%s] = %s", o.Text, printable(o.Field, 100), value)
	case parse.Wrote:
		return fmt.Sprintf("%s = %s %s", o.Field, value, e.paint(grey, "("+o.Text+")"))
	case parse.Problem:
		return e.paint(red, fmt.Sprintf("problem: %v", o.Err))
	case parse.StaticsSkipped:
		return e.paint(grey, "statics not applied")
	case parse.Moved:
		return e.paint(green, "moves on to "+o.Value)
	case parse.EventAborted:
		return e.paint(red, fmt.Sprintf("the event ends here: %v", o.Err))
	}
	return ""
}

// Leave implements parse.Observer.
func (e *explainer) Leave(_ *parse.Node, _ *pipeline.Event, success bool) { e.pop(success) }

// pop ends the innermost node: its text goes to its parent, or out.
func (e *explainer) pop(success bool) {
	f := e.pending[len(e.pending)-1]
	e.pending = e.pending[:len(e.pending)-1]
	if f.false && !e.opts.All && len(e.pending) == 0 {
		e.skipped++
		return
	}
	name := f.node.Name
	if name == "" {
		name = fmt.Sprintf("node %d", f.node.Index+1)
	}
	mark := e.paint(green, "+")
	switch {
	case f.false:
		mark = e.paint(grey, "·")
	case !success:
		mark = e.paint(red, "-")
	}
	lines := append([]string{strings.Repeat("  ", f.node.Depth+2) + mark + " " + name}, f.lines...)
	if len(e.pending) > 0 {
		parent := &e.pending[len(e.pending)-1]
		parent.lines = append(parent.lines, lines...)
		return
	}
	for _, l := range lines {
		fmt.Fprintln(e.out, l)
	}
}

func (e *explainer) outcome(t engine.Trace) {
	e.endStage()
	s := t.Stats
	switch {
	case s.Undecodable > 0:
		fmt.Fprintf(e.out, "  %s\n", e.paint(red, "the line cannot be decoded"))
	case s.Whitelisted > 0:
		fmt.Fprintf(e.out, "  %s\n", e.paint(green, "whitelisted: it is not poured"))
	case s.Unparsed > 0:
		fmt.Fprintf(e.out, "  %s\n", e.paint(red, "unparsed: no node of some stage took it on"))
	case len(t.Pours) == 0:
		fmt.Fprintf(e.out, "  parsed; it pours into no scenario\n")
	default:
		fmt.Fprintf(e.out, "  %s\n", e.paint(bold, "pours into"))
	}
	for i := range t.Pours {
		p := &t.Pours[i]
		fmt.Fprintf(e.out, "    %s %s", e.paint(green, "+"), e.engine.Set.Scenarios[p.Scenario].Name)
		if p.Key != "" {
			fmt.Fprintf(e.out, " key %s", printable(p.Key, 200))
		}
		if p.Distinct != "" {
			fmt.Fprintf(e.out, " distinct %s", printable(p.Distinct, 200))
		}
		fmt.Fprintln(e.out)
	}
	fmt.Fprintln(e.out)
}
