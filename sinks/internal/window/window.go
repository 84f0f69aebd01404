// Package window lets a sink whose messages are acknowledged one by one have
// several on their way at once, and still tell the outbox in order which
// alerts are settled.
package window

import (
	"errors"

	"sluice/pipeline"
	"sluice/sinks"
)

// Publish sends an alert's message and returns what waits until the place has
// acknowledged it. An error of either that Refuse made says that the place
// will never take the alert; any other that it, and what follows it, is to be given again.
type Publish func(*pipeline.Alert) (acknowledged func() error, err error)

// Refuse marks an error as one that an alert will always meet.
func Refuse(err error) error { return &refusal{err} }

type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

func refused(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// Deliver publishes alerts in order, size of them on their way at once, and
// returns what sinks.Outcome is told: how many from the first are settled, and
// what keeps back the rest. The place may have taken some of the rest as well.
func Deliver(alerts []pipeline.Alert, size int, publish Publish) (settled int, rejected *sinks.RejectedError, err error) {
	for settled < len(alerts) {
		for _, acknowledged := range send(alerts[settled:min(len(alerts), settled+size)], publish) {
			switch err := acknowledged(); {
			case refused(err):
				rejected = rejected.With(settled, err)
			case err != nil:
				return settled, rejected, err
			}
			settled++
		}
	}
	return settled, rejected, nil
}

// send publishes alerts up to the first that fails for a reason which others may share.
func send(alerts []pipeline.Alert, publish Publish) (sent []func() error) {
	for i := range alerts {
		acknowledged, err := publish(&alerts[i])
		if err != nil {
			acknowledged = func() error { return err }
		}
		sent = append(sent, acknowledged)
		if err != nil && !refused(err) {
			break
		}
	}
	return sent
}
