package funcs

import "fmt"

// unsupported are the helpers that CrowdSec has and Sluice does not, with the reason.
func unsupported() map[string]string {
	const web = "a rule cannot call a web server for each event; send alerts to a webhook sink instead"
	return map[string]string{
		"CrowdsecCTI": "it asks CrowdSec's threat intelligence over the network for each event; put a block list into a data file instead",
		"HTTPGet":     web,
		"HTTPHead":    web,
		"HTTPPost":    web,
		"HTTPRequest": web,
		"JA4H":        "it fingerprints a request that a web application firewall holds, and logs hold none",
	}
}

// Unsupported says why a helper that CrowdSec has cannot be called, "" for all
// other names. A compiler may refuse rules that call one; without that, the
// call fails with the reason.
func Unsupported(name string) string { return unsupported()[name] }

func unsupportedTable() []Function {
	var out []Function
	for name, reason := range unsupported() {
		out = append(out, Function{Name: name, Outside: true, Call: func(...any) (any, error) {
			return nil, fmt.Errorf("%s is not supported: %s", name, reason)
		}})
	}
	return out
}
