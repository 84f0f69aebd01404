// Package kafkatest starts a real Apache Kafka for tests and for trying things
// out: one node, or three for the loss of a broker. It needs a Java runtime
// and Maven, which resolves Kafka from the coordinates in pom.xml.
//
// [Install] finds Kafka, [Kafka.Start] starts a [Cluster], or [Kafka.StartFor]
// one that ends with a test, and [Admin] makes topics and asks for offsets. The
// command in ../kafka does the same from a shell. All listens on the loopback address, on ports that were free.
package kafkatest
