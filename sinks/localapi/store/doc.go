// Package store keeps what the local API serves: alerts, decisions, who may
// ask (bouncers and machines), and allow-lists. All of it is in one Badger
// folder and durable when a call returns; decisions are in an Index besides.
//
// Writes come one after the other; reads of decisions wait for none of them,
// nor does the check of a key or a token. When the disk fails, the store does
// too: every later call returns why, and what was acknowledged is there at the next start.
package store
