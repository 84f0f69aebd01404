// Package blocklist reads lists of addresses and ranges: plain ones, CSV, and
// the JSON that `cscli decisions import` and `sluice decisions export` know.
package blocklist
