//go:build !race

package hubtest_test

const raceEnabled = false
