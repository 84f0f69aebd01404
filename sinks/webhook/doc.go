// Package webhook is a sink that sends alerts to an HTTP endpoint.
//
// A request is made of templates: URL, headers and body, each with the alerts
// of the request in it. Presets give those of well-known receivers. The sink
// signs requests where it is told to, sends the alert's id as the
// Idempotency-Key, and refuses to be pointed at link-local addresses, behind
// which cloud providers keep credentials.
//
// What the answer means (answer.go): 2xx is an acknowledgement; what does not
// depend on the alert, such as 401, 429, 5xx and redirections, is sent again,
// when the server says so or after the outbox's waits; any other answer
// refuses the request's alerts for good, one by one where there were several.
package webhook
