// Package natsconn is how sources and sinks reach NATS: the check of the
// servers' addresses, encryption, and the opening of connections and of JetStream.
//
// It stands beside the runtime because sources and sinks need it alike and
// neither may import the other. It knows nothing of streams or messages. How
// to sign in is the component's own: a source reads passwords from files anew
// at every connection.
package natsconn
