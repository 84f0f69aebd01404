package match

import (
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/expr-lang/expr/ast"

	"sluice/pipeline"
	"sluice/stages/rules"
)

// route says how the routing hash of a pour is made from its key. It is a
// function of the key alone: pours that may meet in one bucket have equal
// keys, and so equal routes, whatever stands in the event.
type route struct {
	kind routeKind
	// mark is the first (of a suffix: last) byte of the literal beside the
	// address that no address has, offset the bytes of the literal before
	// (after) it.
	mark   byte
	offset int
	// salt keeps the keys of different groups apart, for routeByKey.
	salt uint64
}

type routeKind uint8

const (
	// routeByKey: by group and key; without a groupby, one owner for the group.
	routeByKey routeKind = iota
	// routeByAddress: the key is the address.
	routeByAddress
	// routeByPrefix: the key begins with the address, then the literal.
	routeByPrefix
	// routeBySuffix: the key ends with the literal, then the address.
	routeBySuffix
)

// groupID names the documents that share buckets (FIDELITY 14).
type groupID struct{ name, filter string }

func groupOf(sc *rules.Scenario) groupID { return groupID{sc.Name, sc.Filter.Value} }

// assignRoutes gives each document its route. The documents of a group must
// route alike, since each may pour into the other's buckets: unless all of
// them read the address off the key in the same way, all go by key.
func assignRoutes(docs []document, scenarios []*rules.Scenario) {
	agreed := make(map[groupID]route)
	for i := range docs {
		if docs[i].filter == nil {
			continue
		}
		id, rt := groupOf(scenarios[i]), routeOf(docs[i].groupBy)
		if first, seen := agreed[id]; seen && first != rt {
			rt = route{kind: routeByKey}
		}
		agreed[id] = rt
	}
	for i := range docs {
		id := groupOf(scenarios[i])
		rt := agreed[id]
		if rt.kind == routeByKey {
			rt.salt = xxhash.Sum64String(id.name + "\x00" + id.filter)
		}
		docs[i].route = rt
	}
}

// routeOf reads the route off a groupby's syntax tree (docs/architecture.md, Routing).
func routeOf(groupBy *value) route {
	if groupBy == nil || len(groupBy.parts) == 0 {
		return route{kind: routeByKey}
	}
	parts := groupBy.parts
	last := len(parts) - 1
	if last == 0 {
		if isSourceIP(parts[0]) {
			return route{kind: routeByAddress}
		}
		return route{kind: routeByKey}
	}
	if lit, ok := parts[1].(*ast.StringNode); ok && isSourceIP(parts[0]) {
		for i := 0; i < len(lit.Value); i++ {
			if notInAddress(lit.Value[i]) {
				return route{kind: routeByPrefix, mark: lit.Value[i], offset: i}
			}
		}
	}
	if lit, ok := parts[last-1].(*ast.StringNode); ok && isSourceIP(parts[last]) {
		for i := len(lit.Value) - 1; i >= 0; i-- {
			if notInAddress(lit.Value[i]) {
				return route{kind: routeBySuffix, mark: lit.Value[i], offset: len(lit.Value) - 1 - i}
			}
		}
	}
	return route{kind: routeByKey}
}

func isSourceIP(n ast.Node) bool {
	f, ok := fieldOf(n)
	return ok && f == pipeline.Field{Space: pipeline.Meta, Name: "source_ip"}
}

// notInAddress tells whether a byte stands in no IPv4 or IPv6 address; the
// mark of a zone (fe80::1%eth0) counts as part of one.
func notInAddress(b byte) bool {
	return strings.IndexByte("0123456789abcdefABCDEF.:%", b) < 0
}

// Route returns the Pour.Route of a document's pours with a key: what decides
// which shard has the bucket. A document that does not take part has none.
func (m *Matcher) Route(scenario int32, key string) uint64 {
	return m.docs[scenario].route.hash(key)
}

// hash returns Pour.Route: the same in every process and run.
func (rt *route) hash(key string) uint64 {
	switch rt.kind {
	case routeByAddress:
		return xxhash.Sum64String(key)
	case routeByPrefix:
		end := strings.IndexByte(key, rt.mark) - rt.offset
		return xxhash.Sum64String(key[:max(end, 0)])
	case routeBySuffix:
		start := strings.LastIndexByte(key, rt.mark) + 1 + rt.offset
		return xxhash.Sum64String(key[min(start, len(key)):])
	}
	return mix(xxhash.Sum64String(key) ^ rt.salt)
}

// mix spreads the salted hash over all bits (the finaliser of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
