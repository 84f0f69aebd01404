package lapi

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"sluice/sinks"
)

// hanging is an API that answers nobody until it is told to.
type hanging struct {
	asked  int
	answer chan struct{}
}

// RoundTrip implements http.RoundTripper.
func (h *hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	h.asked++
	select {
	case <-h.answer:
		return nil, errors.New("it hung up")
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// TestAlertsWaitForOneAttemptToSignIn has the heartbeat, the report and alerts
// need a token of an API that hangs: none waits for the timeouts of the others,
// and one that is to end does not wait at all.
func TestAlertsWaitForOneAttemptToSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.URL, c.MachineID, c.Password = "http://lapi.invalid", "m", "p"
		s, err := New("lapi", c, sinks.Env{})
		if err != nil {
			t.Fatal(err)
		}
		api := &hanging{answer: make(chan struct{})}
		target := s.lanes[0].targets[0]
		target.client.Transport = api
		ends := make(chan error)
		signIn := func(ctx context.Context) {
			_, err := target.signIn(ctx, "")
			ends <- err
		}
		for range 3 {
			go signIn(t.Context())
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		go signIn(ctx)
		synctest.Wait()
		cancel()
		if err := <-ends; !errors.Is(err, context.Canceled) || mayHaveArrived(err) {
			t.Errorf("the one that was to end: %v", err)
		}
		api.answer <- struct{}{}
		for range 3 {
			if err := <-ends; err == nil || mayHaveArrived(err) {
				t.Errorf("error = %v", err)
			}
		}
		if api.asked != 1 {
			t.Errorf("it was asked %d times", api.asked)
		}
		// Another attempt is made once there is none to wait for, and one that its own caller ends is nobody else's end.
		ctx, cancel = context.WithCancel(t.Context())
		go signIn(ctx)
		synctest.Wait()
		go signIn(t.Context())
		synctest.Wait()
		cancel()
		<-ends
		synctest.Wait()
		if api.asked != 3 {
			t.Errorf("it was asked %d times", api.asked)
		}
		api.answer <- struct{}{}
		<-ends
	})
}
