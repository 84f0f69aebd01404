// Package allowlist says on whom nothing is decided: a Set holds the items of
// allow-lists, addresses, ranges and conditions over alerts, and finds the one
// that an address, a range or an alert is excepted by.
//
// A range is excepted by an item around it and by one inside it, as in
// CrowdSec: a ban of a network would ban the allowed address in it, too.
package allowlist
