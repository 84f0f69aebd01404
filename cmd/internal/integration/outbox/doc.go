// Package outbox kills sluice while it delivers, and counts what arrives:
// every alert, and none twice but for those that were under way when sluice
// was killed or an answer was lost.
//
// A file is the source, one alert a line. The sinks are a webhook, whose
// server belongs to the test and so outlives sluice, healthy or failing half of
// the time, and a real Kafka. Each start of sluice is a run with a number;
// what arrives is a delivery in a run (ledger_test.go). A delivery that
// repeats one of a run before is charged to that run's kill, and a kill may
// cost one batch of the outbox.
//
// Its tests have the build tag integration; SLUICE_SOAK makes it 100 kills.
package outbox
