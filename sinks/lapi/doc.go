// Package lapi is a sink that pushes alerts with their decisions to the local
// API of CrowdSec, as CrowdSec's own log processors do, or to that of another Sluice.
//
// A target is one API: its client signs in (auth.go), and pushes alerts in
// batches (push.go). The API gives alerts ids of its own, so an alert that is
// sent twice would be there twice. Therefore our id stands in the alert's meta,
// and whenever it is not certain that an alert is not there yet, which is so
// after a lost answer and after every start, the target asks for it before it
// sends it (lookup.go).
//
// A lane is one place where an alert has to arrive: one target, or several of which
// one takes over when another fails (lane.go). The sink gives every alert to
// every lane, and tells the outbox how far all of them got (sink.go).
//
// What an answer means: 2xx is an acknowledgement; 401 and 403 make the target sign in
// again; 400, 413, 422 and the like refuse, and so does a 500 in which CrowdSec
// says that it is the alert that is wrong: the batch is halved until the
// alert that is to blame is found. All else is sent again.
package lapi
