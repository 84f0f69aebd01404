// Package workload writes logs that look like those of a small fleet: web
// servers and SSH daemons with their usual visitors, and attackers among
// them. The same seed gives the same lines, byte for byte.
//
// Addresses are those set aside for documentation (RFC 5737, RFC 3849) and
// for benchmarks (RFC 2544), so that no one's address is in it.
package workload
