// Package process runs the programs that integration tests need: brokers and
// the sluice binary itself. A Process ends when the one who started it ends,
// however that happens, so that a test that crashes leaves nothing behind.
package process
