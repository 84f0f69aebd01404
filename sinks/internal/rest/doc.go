// Package rest keeps clients from a server that asked to be left alone for a
// while, with the header Retry-After of RFC 9110, section 10.2.3.
package rest
