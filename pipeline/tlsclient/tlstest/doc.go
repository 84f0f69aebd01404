// Package tlstest makes certificates for tests: an authority, and what it signs.
package tlstest
