// Package outbox delivers alerts and dead letters to where they go.
//
// With durable state they are Items in a Log, stored in the checkpoint of the
// state that made them. A Deliverer gives each sink those that are released
// and addressed to it, in order, again until they are taken, and moves the
// sink's cursor behind them: at least once, each sink at its own pace. What
// waits is in the Log, so a slow sink fills the disk and never the heap; over
// its quota its Policy says who pays: the sources, who wait (Blocked), or its
// own oldest alerts. A Direct does without a Log: whoever delivers waits. Both
// have a Drain, which bounds the end of a run.
//
// A sink that fails is asked again as its Retry says: waits that double, a
// budget of retries, a circuit breaker that leaves it alone and probes it with
// one alert, and, only if bounded, an end: what was tried often or long enough
// goes to the dead letters, once it has failed alone. Each lane has all of
// that to itself, so no sink delays another.
//
// Within a lane batches are given one after the other, in order. Sinks whose
// requests stand alone send several at once by themselves: see
// sinks/internal/spread, which keeps the order of each source.
//
// Begin with outbox.go for what is counted and trimmed, lane.go for one
// sink's life, pace.go and breaker.go for when it is tried, blame.go for which
// alert is given up, gather.go for those that want large batches, item.go and
// alert.go for what is stored.
//
// Not obvious:
//
//   - The tally reads every entry once, before the sinks do, so that what
//     waits for whom is known however slow they are. Lanes read only below it.
//   - A batch that failed is given again as it was, since the sink may hold a
//     part of it. A probe, and the search for the alert at fault, give a
//     beginning of it; new alerts join once all of it is settled. A Batcher's
//     batches are given, and given up, as a whole.
//   - What was taken is removed beside the lanes (runTrim): a lane waits for the
//     disk once a batch, for its cursor.
//   - max_attempts alone must not empty the outbox during an outage: each alert
//     that is given up has failed alone, and an open breaker bounds how many do.
//   - Dead letters that are not taken delay their sink and open no breaker: it
//     is not the sink that failed.
//   - Entries for others are stepped over without writing a cursor. After a
//     restart they are stepped over again, or were trimmed.
//   - A batch with refused alerts is settled, without giving it again, once
//     the dead letters hold those.
package outbox
