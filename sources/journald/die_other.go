//go:build !linux

package journald

import "os/exec"

// dieWithParent does nothing: there is no journald but on Linux.
func dieWithParent(*exec.Cmd) {}
