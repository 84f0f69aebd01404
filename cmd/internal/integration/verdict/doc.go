// Package verdict has reverse proxies of Debian's ask a running sluice whether
// clients may pass, with the configurations of docs/verdict.md as they stand there.
package verdict
