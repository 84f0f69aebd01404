package lapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"sluice/pipeline/lapi"
)

// signed makes a request with the session's token. Where the token is not
// taken, it signs in again, once.
func (t *target) signed(ctx context.Context, method, path string, body any, read func(io.Reader) error) error {
	token, err := t.signIn(ctx, "")
	if err != nil {
		return err
	}
	err = t.do(ctx, method, path, token, body, read)
	if !unauthorized(err) {
		return err
	}
	if token, err = t.signIn(ctx, token); err != nil {
		return err
	}
	return t.do(ctx, method, path, token, body, read)
}

func unauthorized(err error) bool {
	var status *statusError
	return errors.As(err, &status) && (status.status == http.StatusUnauthorized || status.status == http.StatusForbidden)
}

// signIn returns a token that counts, and is not the one that was refused. Who
// waits for another's attempt shares its end: alerts behind a heartbeat at an API
// that hangs wait for one timeout, not for one each.
func (t *target) signIn(ctx context.Context, refused string) (token string, err error) {
	s := &t.session
	before := s.failed.Load()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", &unsentError{ctx.Err()}
	}
	if failed := s.failed.Load(); failed != before && s.token == "" {
		return "", failed.err
	}
	token, err = t.signInNow(ctx, refused)
	if err != nil && ctx.Err() == nil { // the end of ctx is the caller's own
		s.failed.Store(&failure{err})
	}
	return token, err
}

// signInNow does it, for who has the turn.
func (t *target) signInNow(ctx context.Context, refused string) (string, error) {
	s := &t.session
	now := t.env.Now()
	if s.token != "" && s.token != refused && now.Before(s.renew) {
		return s.token, nil
	}
	if s.token != "" && s.token != refused && now.Before(s.expires) {
		// A token that is refused, or an API that cannot do it, is no reason to stop: signing in anew remains.
		if err := t.authenticate(ctx, http.MethodGet, "/v1/refresh_token", s.token, nil); err == nil {
			return s.token, nil
		}
	}
	s.token = ""
	err := t.login(ctx)
	if unauthorized(err) && t.config.Register && !s.registered {
		if failed := t.register(ctx); failed != nil {
			return "", &unsentError{fmt.Errorf("%w, and registering the machine fails: %w", err, failed)}
		}
		s.registered = true
		err = t.login(ctx)
	}
	switch {
	case unauthorized(err) && s.registered:
		return "", &unsentError{fmt.Errorf("%w (the machine is registered; someone has to run: cscli machines validate %s)", err, t.config.MachineID)}
	case err != nil:
		return "", &unsentError{err}
	}
	s.registered = false
	return s.token, nil
}

// login signs in with the password, or with the certificate of the connection.
func (t *target) login(ctx context.Context) error {
	return t.authenticate(ctx, http.MethodPost, "/v1/watchers/login", "", lapi.WatcherAuthRequest{
		MachineId: t.config.MachineID, Password: t.config.Password.Reveal(), Scenarios: &[]string{},
	})
}

// authenticate asks for a token and notes until when it counts.
func (t *target) authenticate(ctx context.Context, method, path, token string, body any) error {
	var answer lapi.WatcherAuthResponse
	err := t.do(ctx, method, path, token, body, func(r io.Reader) error {
		return json.NewDecoder(io.LimitReader(r, maxAnswer)).Decode(&answer)
	})
	if err != nil {
		return err
	}
	if answer.Token == nil || *answer.Token == "" {
		return fmt.Errorf("%s: its answer to signing in has no token", t.name)
	}
	now := t.env.Now()
	expires := now.Add(time.Hour) // what CrowdSec gives
	if answer.Expire != nil {
		// One that is over already is of a clock that is late.
		if at, err := time.Parse(time.RFC3339, *answer.Expire); err == nil && at.After(now) {
			expires = at
		}
	}
	// A fifth before the end there is time for several attempts.
	t.session.token, t.session.expires, t.session.renew = *answer.Token, expires, now.Add(expires.Sub(now)*4/5)
	return nil
}

// register makes the machine known. That it is known already is no error:
// signing in tells what is wrong with it.
func (t *target) register(ctx context.Context) error {
	body := lapi.WatcherRegistrationRequest{MachineId: t.config.MachineID, Password: t.config.Password.Reveal()}
	if token := t.config.RegistrationToken.Reveal(); token != "" {
		body.RegistrationToken = &token
	}
	err := t.do(ctx, http.MethodPost, "/v1/watchers", "", body, nil)
	if err == nil {
		t.log.Info("the machine has been registered", "machine", t.config.MachineID)
	}
	return err
}
