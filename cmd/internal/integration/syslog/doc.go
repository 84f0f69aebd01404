// Package syslog holds the tests of the source syslog on real senders: logger,
// rsyslog and syslog-ng, killed and held up. They have the build tag integration.
package syslog
