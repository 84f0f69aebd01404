// Package amqp holds the tests of the source amqp on a real RabbitMQ. They run with the build tag integration.
package amqp
