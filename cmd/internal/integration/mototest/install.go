package mototest

import (
	"testing"

	"sluice/cmd/internal/integration/rig"
)

// version is the moto that the tests were written with.
const version = "5.2.5"

// Moto is a moto that is ready to be started.
type Moto struct{ python *rig.Python }

// Need installs moto, or skips the test and says what is missing.
func Need(t testing.TB) *Moto {
	t.Helper()
	return &Moto{rig.NeedPython(t, "moto-"+version, "moto[server]=="+version)}
}
