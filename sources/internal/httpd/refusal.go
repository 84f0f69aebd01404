package httpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"sluice/sources/intake"
)

// Refusal is why a request is not taken, as its client is told.
type Refusal struct {
	Status int
	Text   string
	why    reason
}

// Error implements error.
func (r *Refusal) Error() string { return r.Text }

// Malformed refuses a body with 400. The text names the place.
func Malformed(format string, args ...any) error {
	return &Refusal{http.StatusBadRequest, fmt.Sprintf(format, args...), dropMalformed}
}

// Unsupported refuses a content type with 415. The text says which are taken.
func Unsupported(format string, args ...any) error {
	return &Refusal{http.StatusUnsupportedMediaType, fmt.Sprintf(format, args...), dropType}
}

func tooLarge(format string, args ...any) error {
	return &Refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf(format, args...), dropTooLarge}
}

// later refuses a request with 429; nothing of it was taken.
func later(text string) *Refusal { return &Refusal{http.StatusTooManyRequests, text, dropLater} }

// errStopping is the answer to requests that a stop overtakes. They are not counted as refused: the whole source is going.
var errStopping = errors.New("the source is stopping; send the request again")

// refusal finds out what a request's client is told of an error.
func refusal(err error) *Refusal {
	var r *Refusal
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &long):
		return &Refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", long.Limit), dropTooLarge}
	case errors.Is(err, errStopping), errors.Is(err, intake.ErrStopped), errors.Is(err, context.Canceled):
		return &Refusal{Status: http.StatusServiceUnavailable, Text: errStopping.Error(), why: reasons}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), strings.Contains(err.Error(), "timeout"):
		return &Refusal{http.StatusRequestTimeout, "the request took too long to come", dropSlow}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Refusal{http.StatusBadRequest, "the body ends early", dropEnded}
	}
	return &Refusal{http.StatusBadRequest, fmt.Sprintf("the body cannot be read: %v", err), dropEnded}
}
