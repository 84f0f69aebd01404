// Package spread lets a sink that sends requests send several at once, without
// losing what the outbox promises: alerts of one source arrive in order, what
// was acknowledged is not sent again, and what was refused is told. A sink
// that has other means to send several uses its Memory alone.
package spread
