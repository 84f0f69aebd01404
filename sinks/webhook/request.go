package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"

	"sluice/pipeline"
)

// request renders and sends a request, and reads what the answer means.
func (s *Sink) request(ctx context.Context, alerts []pipeline.Alert) error {
	if left := s.rest.Left(s.now()); left > 0 { // another request of the batch was told
		return fmt.Errorf("the server asked to be left alone for %v more", left.Round(time.Second))
	}
	req, err := s.render(ctx, alerts)
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) { // it holds the URL, which may hold a secret
			err = of.Err
		}
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	return s.judge(req, res, alerts)
}

func (s *Sink) render(ctx context.Context, alerts []pipeline.Alert) (*http.Request, error) {
	d := data{Alert: &alerts[0], ID: requestID(alerts), Values: s.values}
	for i := range alerts {
		d.Alerts = append(d.Alerts, &alerts[i])
	}
	var failed error
	text := func(t *template.Template) []byte {
		var out bytes.Buffer
		if err := t.Execute(&out, d); err != nil && failed == nil {
			failed = &refusedError{fmt.Sprintf("its template %s fails on it: %v", t.Name(), err)}
		}
		return out.Bytes()
	}
	body := text(s.templates.body)
	req, err := http.NewRequestWithContext(ctx, s.config.method(), string(text(s.templates.url)), bytes.NewReader(body))
	if err != nil {
		return nil, &refusedError{"its template url gives no address"}
	}
	req.Header.Set("User-Agent", "sluice")
	req.Header.Set("Idempotency-Key", d.ID)
	for name, t := range s.templates.headers {
		value := headerValue(text(t))
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	if failed != nil {
		return nil, failed
	}
	s.bytes.Add(uint64(len(body)))
	return req, s.sign(req, body)
}

// headerValue makes one value of what a template gives. Characters that no
// header can hold become blanks: an attacker's words neither add a header nor keep an alert back.
func headerValue(text []byte) string {
	out := make([]byte, len(text))
	for i, b := range text {
		if b < ' ' && b != '\t' || b == 0x7f {
			b = ' '
		}
		out[i] = b
	}
	return strings.TrimSpace(string(out))
}

// sign adds what proves who sends it.
func (s *Sink) sign(req *http.Request, body []byte) error {
	auth := &s.config.Auth
	switch {
	case auth.Username != "":
		req.SetBasicAuth(auth.Username, auth.Password.Reveal())
	case auth.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+auth.Bearer.Reveal())
	case auth.BearerFile != "":
		token, err := readSecret(auth.BearerFile)
		if err != nil {
			return fmt.Errorf("auth.bearer_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if s.config.Sign.Secret != "" {
		at := strconv.FormatInt(s.now().Unix(), 10)
		mac := hmac.New(sha256.New, []byte(s.config.Sign.Secret.Reveal()))
		_, _ = io.WriteString(mac, at+".") // a hash takes all
		_, _ = mac.Write(body)
		req.Header.Set(s.config.Sign.Header, "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
	}
	return nil
}
