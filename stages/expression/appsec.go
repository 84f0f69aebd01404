package expression

// Appsec stands for evt.Appsec, what a web application firewall reports in
// CrowdSec. Sluice takes no such events, so it is always empty; it is there so
// that rules that mention it load, and are never true.
type Appsec struct {
	HasInBandMatches, HasOutBandMatches bool
}

// GetName returns the first matched rule's name: none.
func (*Appsec) GetName() string { return "" }

// GetNames returns the matched rules' names: none.
func (*Appsec) GetNames() []string { return []string{} }

// GetRuleIDs returns the matched rules' numbers: none.
func (*Appsec) GetRuleIDs() []int { return []int{} }

// GetURI returns the request's URI: none.
func (*Appsec) GetURI() string { return "" }

// GetMethod returns the request's method: none.
func (*Appsec) GetMethod() string { return "" }

// GetHash returns the matched rule's hash: none.
func (*Appsec) GetHash() string { return "" }

// GetVersion returns the matched rule's version: none.
func (*Appsec) GetVersion() string { return "" }

// GetVar returns a variable of the firewall: none.
func (*Appsec) GetVar(string) string { return "" }

// GetMatchedZones returns where in the request the rules matched: nowhere.
func (*Appsec) GetMatchedZones() []string { return []string{} }
