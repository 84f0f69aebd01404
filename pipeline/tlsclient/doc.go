// Package tlsclient is how a client encrypts a connection that its address
// says is encrypted, such as mqtts:// or amqps://: one mapping `tls` of a
// component's configuration, and the crypto/tls configuration it stands for.
package tlsclient
