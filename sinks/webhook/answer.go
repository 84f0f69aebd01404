package webhook

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sluice/pipeline"
)

// refusedError is an answer that will not change.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }

const (
	// maxAnswer is how much of an answer is read that says something of every alert, as that to a bulk request does.
	maxAnswer = 8 << 20
	// maxWords is how much is read of any other.
	maxWords = 64 << 10
)

// judge reads what an answer means.
func (s *Sink) judge(req *http.Request, res *http.Response, alerts []pipeline.Alert) error {
	status := res.StatusCode
	if status/100 == 2 && s.preset.check != nil {
		answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("%s: reading its answer: %w", req.URL.Host, err)
		}
		return s.preset.check(answer, alerts)
	}
	// The status has said it all. What is read of the rest lets the connection be used again.
	answer, _ := io.ReadAll(io.LimitReader(res.Body, maxWords))
	if status/100 == 2 {
		return nil
	}
	said := fmt.Sprintf("%s answers %s: %s", req.URL.Host, res.Status, s.words(req, answer))
	if !s.again(status) {
		return &refusedError{said}
	}
	s.rest.Heed(res.Header.Get("Retry-After"), s.now())
	if to, err := url.Parse(res.Header.Get("Location")); status/100 == 3 && err == nil && to.Host != "" {
		said += fmt.Sprintf(" (it leads to %s://%s; redirections are not followed, so set url to where it leads)", to.Scheme, to.Host)
	}
	return fmt.Errorf("%s", said)
}

// again tells whether a request with this answer is sent again. A redirection
// and what a server says of who asks do not depend on the alert: a person
// mends them, and meanwhile alerts wait.
func (s *Sink) again(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status/100 == 3 || status/100 == 5 || slices.Contains(s.preset.retry, status) || slices.Contains(s.config.RetryStatuses, status)
}

// words returns the beginning of an answer on one line, without the secrets of
// the request: many a server repeats what it was asked for.
func (s *Sink) words(req *http.Request, answer []byte) string {
	text := strings.ToValidUTF8(string(answer), "?")
	for _, secret := range s.unsaid(req) {
		text = strings.ReplaceAll(text, secret, "…")
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "")
	}
	if text == "" {
		return "(no words)"
	}
	return text
}

// maxSaid is how many bytes of an answer are repeated.
const maxSaid = 300

// public are headers that hold no secret, and whose words may be what an answer is about.
var public = map[string]bool{"Content-Type": true, "Accept": true, "User-Agent": true, "Idempotency-Key": true}

// unsaid are the texts of a request that errors must not show, the longest
// first: configured secrets, headers, and what of the URL may be one.
func (s *Sink) unsaid(req *http.Request) []string {
	u := req.URL
	out := append(slices.Clone(s.secrets), u.RequestURI(), u.Path, u.EscapedPath(), u.RawQuery)
	for name, values := range req.Header {
		if !public[name] {
			_, token, _ := strings.Cut(values[0], " ") // behind the scheme
			out = append(out, values[0], token)
		}
	}
	if password, ok := u.User.Password(); ok {
		out = append(out, password, base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	for _, text := range out { // as they are repeated in JSON and in addresses
		quoted := strings.Trim(strconv.Quote(text), `"`)
		out = append(out, quoted, url.QueryEscape(text), url.PathEscape(text))
	}
	for _, part := range strings.FieldsFunc(u.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=", r) }) {
		if len(part) >= 16 { // a name is shorter, a token seldom
			out = append(out, part)
		}
	}
	out = slices.DeleteFunc(out, func(text string) bool { return len(text) < 4 })
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}
