// Package format writes alerts in the formats that sinks can send them in.
//
//	sluice    an alert as Sluice keeps it: docs/alert.schema.json describes it
//	crowdsec  an alert as a CrowdSec watcher sends it to a local API
//	ocsf      a Detection Finding of the Open Cybersecurity Schema Framework
//	ecs       a document of the Elastic Common Schema
//	cef       a line of ArcSight's Common Event Format
//	text      a line for people
//
// Each is a pure function of the alert: the same alert is the same bytes, and
// its id is in all of them, so that a receiver can drop repeats.
package format
