package localapi

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/pipeline/lapi"
	"sluice/sinks/localapi/store"
)

// Answers to those who are not known. They do not tell what was wrong.
const (
	forbidden    = "access forbidden"
	unauthorized = "sign in first: the token is missing, of another server, or has run out"
	tooMany      = "too many failed attempts; wait"
)

// maxWaiting is how many machines that registered themselves may wait to be
// validated: whoever reaches the API can make one, and they are kept until a person looks at them.
const maxWaiting = 100

// maxSignIn is the largest body of those who are nobody yet, in bytes: what reads
// it takes dozens of times as much. An engine sends the names of its scenarios in it.
const maxSignIn = 256 << 10

// slowDown answers who comes from where too many failed to sign in.
func slowDown(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(int(1/guessRate)))
	fail(w, http.StatusTooManyRequests, tooMany)
}

// bouncer admits bouncers: by the key in X-Api-Key, or by certificate.
func (s *Sink) bouncer(next func(http.ResponseWriter, *http.Request, *store.Bouncer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, ok := s.admitBouncer(w, r)
		if ok {
			next(w, r, b)
		}
	}
}

// admitBouncer returns who asks; otherwise it has answered.
func (s *Sink) admitBouncer(w http.ResponseWriter, r *http.Request) (*store.Bouncer, bool) {
	from := s.client(r)
	if !s.guard.admits(from) {
		slowDown(w)
		return nil, false
	}
	if name, ok := certificateOf(r, s.config.TLS.BouncerOUs); ok {
		b, err := s.store.BouncerNamed(name)
		if err != nil {
			s.broken(w, err)
			return nil, false
		}
		return &b, true
	}
	if b, ok := s.store.BouncerOf(r.Header.Get("X-Api-Key")); ok {
		return &b, true
	}
	s.guard.failsWith(from, r.Header.Get("X-Api-Key"))
	fail(w, http.StatusForbidden, forbidden)
	return nil, false
}

// certificateOf returns the name in a client's certificate, which the server
// has verified, if it belongs to one of the organisational units.
func certificateOf(r *http.Request, units []string) (name string, ok bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "", false
	}
	cert := r.TLS.PeerCertificates[0]
	for _, unit := range cert.Subject.OrganizationalUnit {
		if slices.Contains(units, unit) && cert.Subject.CommonName != "" {
			return cert.Subject.CommonName, true
		}
	}
	return "", false
}

// machine admits machines by their token.
func (s *Sink) machine(next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from := s.client(r)
		if !s.guard.admits(from) {
			slowDown(w)
			return
		}
		name, ok := s.tokenOf(r)
		if !ok {
			s.guard.failsWith(from, r.Header.Get("Authorization"))
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, unauthorized)
			return
		}
		next(w, r, name)
	}
}

// claims are what a token says: whose it is, and until when.
type claims struct {
	Machine string `json:"id"`
	jwt.RegisteredClaims
}

const tokenIssuer = "sluice"

// newToken returns a token for a machine.
func (s *Sink) newToken(machine string) (token string, until time.Time, err error) {
	now := s.store.Now()
	until = now.Add(s.config.TokenLifetime)
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims{machine, jwt.RegisteredClaims{
		Issuer: tokenIssuer, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(until),
	}}).SignedString(s.secret)
	return token, until, err
}

// tokenOf returns the machine of a request's token. A token counts as long as
// its machine is there and valid, and is the one that it was made for.
func (s *Sink) tokenOf(r *http.Request) (machine string, ok bool) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", false
	}
	var c claims
	_, err := jwt.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return s.secret, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(tokenIssuer), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.store.Now))
	if err != nil {
		return "", false
	}
	m, ok := s.store.Machine(c.Machine)
	return c.Machine, ok && m.Valid && c.IssuedAt != nil && !c.IssuedAt.Before(m.Created.Truncate(time.Second))
}

// register implements POST /watchers.
func (s *Sink) register(w http.ResponseWriter, r *http.Request) {
	from := s.client(r)
	if !s.passwords.admits(from) {
		slowDown(w)
		return
	}
	var body lapi.WatcherRegistrationRequest
	r.Body = http.MaxBytesReader(w, r.Body, maxSignIn)
	if !s.decodeAs(w, r, "Registration", &body) {
		return
	}
	end, ok := s.passwords.turn(from)
	if !ok {
		slowDown(w)
		return
	}
	defer end()
	valid := false
	switch token := s.config.AutoRegistration.Token.Reveal(); {
	case body.RegistrationToken != nil && *body.RegistrationToken != "":
		if token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(*body.RegistrationToken)) != 1 || !contains(s.registering, from) {
			s.passwords.fails(from)
			fail(w, http.StatusForbidden, forbidden)
			return
		}
		valid = true
	case !s.config.Registration:
		s.passwords.fails(from)
		fail(w, http.StatusForbidden, "machines cannot register themselves here; ask for `sluice machines add`")
		return
	}
	err := s.store.AddMachine(body.MachineId, body.Password, valid)
	switch {
	case errors.Is(err, store.ErrExists):
		s.passwords.fails(from)
		fail(w, http.StatusForbidden, "user already exist")
	case errors.Is(err, store.ErrManyWait): // nothing was guessed, and it cost next to nothing
		fail(w, http.StatusForbidden, "too many machines wait to be validated; ask for `sluice machines validate`, or for `sluice machines delete` of those that nobody knows")
	case err != nil:
		fail(w, http.StatusBadRequest, err.Error())
	case valid:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusCreated)
	}
}

// login implements POST /watchers/login.
func (s *Sink) login(w http.ResponseWriter, r *http.Request) {
	from := s.client(r)
	if !s.passwords.admits(from) {
		slowDown(w)
		return
	}
	name, certified := certificateOf(r, s.config.TLS.MachineOUs)
	if !certified {
		var body lapi.WatcherAuthRequest
		r.Body = http.MaxBytesReader(w, r.Body, maxSignIn)
		if !s.decodeAs(w, r, "SignIn", &body) {
			return
		}
		end, ok := s.passwords.turn(from)
		if !ok {
			slowDown(w)
			return
		}
		defer end()
		name = body.MachineId
		if m, _ := s.store.Machine(name); !s.store.CheckPassword(name, body.Password) || !m.Valid {
			s.passwords.fails(from)
			fail(w, http.StatusForbidden, forbidden)
			return
		}
	} else if _, known := s.store.Machine(name); !known {
		if err := s.store.AddMachine(name, store.NewKey()[:52], true); err != nil && !errors.Is(err, store.ErrExists) {
			s.broken(w, err)
			return
		}
	}
	if err := s.store.ChangeMachine(name, func(m *store.Machine) {
		m.LastLogin, m.Address, m.Version = s.store.Now().UTC(), from.String(), agent(r)
	}); err != nil && !errors.Is(err, store.ErrUnknown) {
		s.broken(w, err)
		return
	}
	s.answerToken(w, name)
}

func (s *Sink) answerToken(w http.ResponseWriter, name string) {
	token, until, err := s.newToken(name)
	if err != nil {
		s.broken(w, err)
		return
	}
	code, expire := http.StatusOK, until.UTC().Format(time.RFC3339)
	reply(w, http.StatusOK, lapi.WatcherAuthResponse{Code: &code, Expire: &expire, Token: &token})
}

func (s *Sink) refresh(w http.ResponseWriter, _ *http.Request, machine string) {
	s.answerToken(w, machine)
}

// deleteSelf implements DELETE /watchers/self.
func (s *Sink) deleteSelf(w http.ResponseWriter, _ *http.Request, machine string) {
	if err := s.store.DeleteMachine(machine); err != nil && !errors.Is(err, store.ErrUnknown) {
		s.broken(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// heartbeat implements GET /heartbeat.
func (s *Sink) heartbeat(w http.ResponseWriter, r *http.Request, machine string) {
	if err := s.store.ChangeMachine(machine, func(m *store.Machine) {
		m.LastBeat, m.Version = s.store.Now().UTC(), agent(r)
	}); err != nil && !errors.Is(err, store.ErrUnknown) {
		s.broken(w, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// agent returns what a client says it is, cut to what is worth keeping.
func agent(r *http.Request) string { return cut(r.UserAgent()) }

// cut returns what is worth keeping, in a list, of what a client says of itself.
func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), 255)], "?") }
