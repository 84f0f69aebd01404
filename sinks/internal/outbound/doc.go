// Package outbound is how sinks make HTTP requests to addresses that a
// configuration names: with a guard against being led to where machines keep
// credentials, a proxy, and no connection that nobody asked for.
package outbound
