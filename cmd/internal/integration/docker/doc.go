// Package docker tests the source docker on a real engine: Podman, which
// serves Docker's API, with real containers of nothing but busybox. Docker's own
// engine is not among its parts.
package docker
