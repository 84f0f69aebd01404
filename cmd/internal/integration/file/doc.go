// Package file tests the source file on the built binary: `make integration`.
package file
