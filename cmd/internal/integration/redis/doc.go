// Package redis holds the tests of the source redis on a real Redis. They run
// with the build tag integration.
package redis
