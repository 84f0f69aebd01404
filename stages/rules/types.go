package rules

import (
	"time"
)

// Pos is a place in a rule file. Line and Column count from 1.
type Pos struct {
	File   string // as the user would open it
	Line   int
	Column int
}

// Text is a string of a rule file that a later step compiles: an expression,
// a pattern, a name. Its position goes into that step's error.
type Text struct {
	Value string
	Pos   Pos
	Set   bool // the key was there, even with an empty value
}

// Static writes one field of an event.
type Static struct {
	Pos        Pos
	Meta       string // name in evt.Meta
	Parsed     string // name in evt.Parsed
	Enriched   string // name in evt.Enriched
	Target     string // a path such as evt.StrTime
	Method     string // an enrichment: ParseDate, GeoIpCity, …
	Value      Text   // a fixed value, or
	Expression Text   // the expression that gives it
}

// Grok is the pattern of a node.
type Grok struct {
	Pos        Pos
	Name       Text // a pattern of the library, or
	Pattern    Text // a pattern in place
	ApplyOn    Text // field of evt.Parsed, or Line.Raw, …
	Expression Text // instead of ApplyOn
	Statics    []Static
}

// Stash remembers a value of this event for later ones.
type Stash struct {
	Pos        Pos
	Name       string
	Key, Value Text
	TTL        time.Duration
	Size       int
	Strategy   string // LRU, LFU or ARC; "" is LRU
}

// Whitelist lets events through without pouring them.
type Whitelist struct {
	Pos         Pos
	Reason      string
	IPs         []Text
	CIDRs       []Text
	Expressions []Text
}

// Data is an entry of data:, a file that rules read.
type Data struct {
	Pos       Pos
	SourceURL string
	DestFile  string
	Type      string // string, regexp, map, bots, or "" for a file only methods read
	Cache     *bool
	Strategy  string
	Size      int
	TTL       time.Duration
}

// Pattern is an entry of pattern_syntax, in file order.
type Pattern struct {
	Name string
	Text Text
}

// Node is a parser, or a part of one.
type Node struct {
	Pos           Pos
	Name          string // YAML name; empty for most sub-nodes
	Description   string
	Author        string
	Format        string
	Debug         bool
	Stage         string // folder of the stage; top-level nodes only
	Filter        Text
	OnSuccess     string // "", next_stage or continue
	PatternSyntax []Pattern
	Grok          *Grok
	Statics       []Static
	Stash         []Stash
	Whitelist     *Whitelist
	Data          []Data
	Nodes         []*Node
}

// Scenario is one document of a scenario file.
type Scenario struct {
	Pos                Pos
	Name               string
	Description        string
	Author             string
	Type               string // leaky, trigger, counter, conditional, bayesian
	Format             string
	Version            string
	Debug              bool
	Filter             Text
	GroupBy            Text
	Distinct           Text
	CancelOn           Text
	OverflowFilter     Text
	Condition          Text
	Capacity           int
	LeakSpeed          time.Duration
	Duration           time.Duration
	Blackhole          time.Duration
	CacheSize          int
	Reprocess          bool
	ScopeType          string // "" means Ip
	ScopeExpr          Text
	Labels             map[string]any
	References         []string
	Data               []Data
	BayesianPrior      float32
	BayesianThreshold  float32
	BayesianConditions []BayesianCondition
	// Hash is a hex digest of the parts that decide detection; equal
	// definitions have equal hashes in every run.
	Hash string
}

// BayesianCondition is one entry of bayesian_conditions.
type BayesianCondition struct {
	Pos             Pos
	Condition       Text
	ProbGivenEvil   float32
	ProbGivenBenign float32
	Guillotine      bool
}

// ContextEntry is one key of an alert context and the expressions that fill it.
type ContextEntry struct {
	Key         string
	Expressions []Text
}

// Set is everything that was loaded, in the order in which it runs.
type Set struct {
	// Parsers are in the order of stages, then of base file names (FIDELITY 1).
	Parsers []*Node
	// Postoverflows likewise.
	Postoverflows []*Node
	// Scenarios are in the order of their files, documents of a file in theirs.
	Scenarios []*Scenario
	Contexts  []ContextEntry
	// PatternDirs are folders of grok pattern files, patterns/ of each root.
	PatternDirs []string
	// Data lists every data file that a rule names, once, with the path found, "" when it is missing.
	Data []DataFile
	// Skipped are the rules left out because they are broken and strict is off.
	Skipped []error
	// Items are the files that were selected, by kind and in the order in
	// which they run; the collections among them are those that were followed.
	Items []Item
}

// DataFile is a data: entry with the place where its file was found.
type DataFile struct {
	Data
	Path string
}
