// Package overflow makes an alert of a bucket that overflowed: its sources,
// its events, the alert context and a deterministic id; then it runs the
// postoverflow parsers on it, which may look up names and whitelist it.
//
// Build is pure: the same overflow gives the same alert in every run. What
// asks the outside (reverse DNS) happens in the postoverflow parsers only.
package overflow
