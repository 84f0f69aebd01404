// Package funcs holds the helper functions that rules may call in
// expressions, under the names that CrowdSec documents, and the data files
// that some of them read.
//
// A helper is one entry of Table: its name, its signatures, its function, what
// a compiler may do with it (Pure, Writes, Outside), and where it pays a form
// without boxed arguments (String1, Bool2 and kin). Helpers that need the
// running event's surroundings (stashes, decisions) are added by package
// expression. docs/compatibility.md lists all of them.
//
// To add a helper, add an entry to the table of its family: strings.go, uri.go,
// json.go, kv.go, xml.go, network.go, geo.go, inject.go, bots.go, data.go.
//
// # Fast ways and plain ways
//
//   - RegexpInFile: regexpSet.match finds each regexp's literal in one pass
//     and runs few; matchPlain is the loop. TestRegexpSetEqualsLoop, FuzzRegexpSet.
//   - ContainsAny, LookupFile: textSet and its automaton stand for loops with
//     package strings. TestTextSetEqualsLoops, FuzzDataFiles.
//   - XMLGet…: xmlTree reads ordinary documents; etree reads the others and
//     says what is right. TestXMLEqualsEtree, FuzzXML.
//   - ParseKV, ParseKVLax: scanners; regexps say what is right.
//     TestParseKVEqualsPattern, FuzzParseKV.
//   - Match: a loop for a recursion. TestMatchEqualsRecursion.
//
// # Non-obvious
//
//   - Arguments often alias a line whose memory is used again after the batch.
//     What a helper remembers, or writes into evt.Unmarshaled, is a copy; what
//     it returns may alias its arguments.
//   - Lists and maps that File, FileMap and LookupHost return are shared: they
//     are not to be written to.
//   - Data files are loaded before rules are compiled and before events are
//     read: a call with constant arguments may be folded, and Load takes no lock
//     against readers.
package funcs
