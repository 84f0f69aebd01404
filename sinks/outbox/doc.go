// Package outbox delivers alerts and dead letters to where they go.
//
// With durable state they are Items in a Log, stored in the checkpoint of the
// state that made them. A Deliverer gives each sink those that are released
// and addressed to it, in order, again until they are taken, and moves the
// sink's cursor behind them: at least once, each sink at its own pace. What
// waits is in the Log, so a slow sink fills the disk and never the heap; over
// its quota its Policy says who pays: the sources, who wait (Blocked), or its
// own oldest alerts. A Direct does without a Log: whoever delivers waits.
//
// Begin with outbox.go for what is counted and trimmed, lane.go for one
// sink's life, item.go for what is stored.
//
// Not obvious:
//
//   - The tally reads every entry once, before the sinks do, so that what
//     waits for whom is known however slow they are. Lanes read only below it.
//   - A batch that failed is given again as it was, since the sink may hold a part of it.
//   - Entries for others are stepped over without writing a cursor. After a
//     restart they are stepped over again, or were trimmed.
//   - A batch with refused alerts is settled, without giving it again, once
//     the dead letters hold those.
package outbox
