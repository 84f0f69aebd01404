// Package amqp is the source of queues of RabbitMQ, or another broker that
// speaks AMQP 0-9-1.
//
// source.go keeps one connection (dial.go) to one of the brokers. Each queue
// has a channel of it and a goroutine (consumer.go) that puts the queue's messages into the intake, and
// acknowledges them when they are safe. Each queue is a partition. ids.go knows
// messages that come once more, where publishers give them ids.
//
// # Non-obvious
//
// A message is acknowledged together with all before it on its channel, so one
// that is refused by the intake keeps all behind it unacknowledged: better twice than never.
//
// A repeat that is left out is acknowledged with the messages that are put
// after it, since its first copy, put before, may not be safe yet.
//
// The library buffers deliveries up to the prefetch count, so the connection's
// heartbeats go on while the pipeline is full. What it buffers may be as large as publishers like.
//
// Run leaves its connection open until Close: the last acknowledgements come with the last checkpoint, which is after Run.
package amqp
