// Package decide turns alerts into decisions: profiles, in order, each with
// filters over the alert, the decisions it makes and the sinks it notifies.
//
// Profiles have CrowdSec's keys, so that a profiles.yaml can be taken over.
package decide
