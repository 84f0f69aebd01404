// Package docker is the source of container logs, by the HTTP API of Docker's
// engine, which Podman serves as well.
//
//	client.go   the API: the few calls that are made, over a Unix socket or TCP
//	frame.go    a log stream made lines, of terminals and of framed stdout and stderr
//	place.go    how far a container was read, exact where times are equal
//	chosen.go   which containers are read, and the labels of their lines
//	reader.go   one container's log, into the intake
//	source.go   containers as they come and go
//
// The API is spoken directly rather than through Docker's client module: five
// calls are needed, and the module brings some thirty others with it.
package docker
