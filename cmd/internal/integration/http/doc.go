// Package http holds the tests of the sources http and kubernetes_audit on the
// binary: clients that send again while it is killed, and real senders. They have the build tag integration.
package http
