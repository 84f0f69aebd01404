package localapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// reached are the ways to a handler: without a server in between, and through one.
func reached(t *testing.T, h http.Handler) map[string]*Client {
	t.Helper()
	server := httptest.NewServer(h)
	transport := &http.Transport{}
	t.Cleanup(func() { transport.CloseIdleConnections(); server.Close() })
	at := strings.TrimPrefix(server.URL, "http://")
	return map[string]*Client{
		"in process": {do: func(r *http.Request) (*http.Response, error) { return answer(h, r) }},
		"connected":  {do: func(r *http.Request) (*http.Response, error) { r.URL.Host = at; return transport.RoundTrip(r) }},
	}
}

// collect asks for a list of numbers.
func collect(t *testing.T, c *Client) (got []int, err error) {
	err = Each(t.Context(), c, "/", func(n *int) error { got = append(got, *n); return nil })
	return got, err
}

// TestAListIsReadAsItComes has a handler go on only when what it wrote before has been read.
func TestAListIsReadAsItComes(t *testing.T) {
	read := make(chan int)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "%c%d\n", "[,,"[i], i) // where a number ends is known by what follows
			_ = http.NewResponseController(w).Flush()
			if got := <-read; got != i {
				t.Errorf("read is %d, written was %d", got, i)
			}
		}
		fmt.Fprint(w, "]")
	})
	for name, c := range reached(t, h) {
		if err := Each(t.Context(), c, "/", func(n *int) error { read <- *n; return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAListThatIsNotWholeIsAnError, and what came of it has come.
func TestAListThatIsNotWholeIsAnError(t *testing.T) {
	abort := func() { panic(http.ErrAbortHandler) }
	for _, c := range []struct {
		name, text string
		then       func()
		items      int
		says       string
	}{
		{"a list", "[1,2]", nil, 2, ""},
		{"an empty one", "[]\n", nil, 0, ""},
		{"nothing at all", "", nil, 0, "the list broke off after 0 items"},
		{"it ends early", "[1,2", nil, 2, "the list broke off after 2 items, and these are not all; ask again: unexpected EOF"},
		{"the connection is cut", "[1,2 ", abort, 2, "the list broke off after 2 items"},
		{"it is cut between two", "[1,2,", abort, 2, "the list broke off after 2 items"},
		{"it is cut behind the list", "[1,2]", abort, 2, "the list broke off after 2 items"},
		{"it is cut before anything", "", abort, 0, "EOF"},
		{"no list", `{"a":1}`, nil, 0, "the answer is no list"},
		{"more than a list", "[1] 2", nil, 1, "the answer is no list"},
		{"an item is no number", `[1,"2"]`, nil, 1, "the list broke off after 1 items"},
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.text != "" {
				_, _ = io.WriteString(w, c.text)
				_ = http.NewResponseController(w).Flush()
			}
			if c.then != nil {
				c.then()
			}
		})
		for way, client := range reached(t, h) {
			got, err := collect(t, client)
			if len(got) != c.items || !slices.Equal(got, []int{1, 2}[:c.items]) || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, %s: %v, %v; want %d items, and %q", c.name, way, got, err, c.items, c.says)
			}
		}
	}
}

// TestAnAnswerNeedNotBeReadToItsEnd: who has seen enough leaves, and the handler ends.
func TestAnAnswerNeedNotBeReadToItsEnd(t *testing.T) {
	enough, left := errors.New("enough"), make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, "[1")
		for err == nil {
			_, err = io.WriteString(w, ",1")
		}
		left <- err
	})
	for name, c := range reached(t, h) {
		if err := Each(t.Context(), c, "/", func(*int) error { return enough }); !errors.Is(err, enough) || (<-left) == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnAnswerWithoutAServerIsThatOfOne: its status, its header, and what goes wrong.
func TestAnAnswerWithoutAServerIsThatOfOne(t *testing.T) {
	for name, c := range map[string]struct {
		h      http.HandlerFunc
		status string
		says   string // by Do
	}{
		"nothing is said":   {func(http.ResponseWriter, *http.Request) {}, "200 OK", ""},
		"no content":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "204 No Content", ""},
		"an answer in JSON": {func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusCreated, 1) }, "201 Created", ""},
		"a refusal":         {func(w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusConflict, "taken") }, "409 Conflict", "taken"},
		"one without words": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, "418 I'm a teapot", "418 I'm a teapot"},
	} {
		for way, client := range reached(t, c.h) {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://sluice/", nil)
			res, err := client.do(req)
			if err != nil || res.Status != c.status {
				t.Fatalf("%s, %s: %+v, %v", name, way, res, err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Error(err)
			}
			if err := res.Body.Close(); err != nil {
				t.Error(err)
			}
			err = client.Do(t.Context(), http.MethodGet, "/", nil, nil)
			if (err == nil) != (c.says == "") || err != nil && err.Error() != c.says {
				t.Errorf("%s, %s: %v, want %q", name, way, err, c.says)
			}
		}
	}
}

// TestDecisionsArePrintedForAsLongAsItTakes: of who reads a page after the other
// nothing is cut, however long the server otherwise lets an answer take.
func TestDecisionsArePrintedForAsLongAsItTakes(t *testing.T) {
	s := newServer(t, map[string]bool{}, nil)
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.1", decisionJSON("ban", "192.0.2.1", "4h"))+"]")
	server := httptest.NewUnstartedServer(s.Admin())
	server.Config.WriteTimeout = 1 // over before anything is written
	server.Start()
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &Client{do: func(r *http.Request) (*http.Response, error) {
		r.URL.Host = strings.TrimPrefix(server.URL, "http://")
		return transport.RoundTrip(r)
	}}
	n := 0
	if err := Each(t.Context(), c, "/decisions", func(*Shown) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d decisions, %v", n, err)
	}
	if err := c.Do(t.Context(), http.MethodGet, "/bouncers", nil, nil); err == nil {
		t.Error("the server lets every answer take any time, and so this shows nothing")
	}
}
