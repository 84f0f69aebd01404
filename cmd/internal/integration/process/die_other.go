//go:build !linux

package process

import "os/exec"

// dieWithParent does nothing where the kernel has no means for it: there, a
// parent that is killed leaves its children behind.
func dieWithParent(*exec.Cmd) {}
