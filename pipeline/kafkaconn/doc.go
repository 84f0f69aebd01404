// Package kafkaconn is how sources and sinks reach a Kafka cluster: the
// addresses, TLS, the sign-in, and connections made of them.
//
// It stands beside the runtime because both a source and a sink need it and
// neither may import the other. It knows nothing of topics or records.
//
// Settings come from a configuration; New reads the files that they name and
// connects to nothing. The Connector then lends what each use needs: a
// Transport for kafka-go's Client and Writer, a Dialer for its consumer group,
// and Connect, which opens one connection to one broker for requests that are
// sent, and answers that are read, by the caller.
//
// A password is a Secret, which no log, error or dump of a configuration
// shows. Passwords in files, client certificates and AWS credentials are read
// again at every connection, so that they can be renewed under a running process.
package kafkaconn
