package objects

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

// Ref is a reference to an object as it was found: what the manifest holds.
type Ref struct {
	Bucket string `json:"b,omitempty"`
	Key    string `json:"k,omitempty"`
	// Version and ETag say which of the objects that had this key; "" where it was not said.
	Version string `json:"v,omitempty"`
	ETag    string `json:"e,omitempty"`
	// Size is in bytes as stored; 0 when it was not said.
	Size int64 `json:"s,omitempty"`
	// Modified is when the object was written, in milliseconds of Unix time; 0 when it was not said.
	Modified int64 `json:"m,omitempty"`
	// Found is when the reference came into the manifest, in seconds of Unix time.
	Found int64 `json:"f,omitempty"`
	// Flaw is set for a message that names no object that can be understood:
	// it is no reference, but has its place among them on the way to the dead letters.
	Flaw string `json:"x,omitempty"`
	// Body is the beginning of such a message, and Message its id.
	Body    string `json:"y,omitempty"`
	Message string `json:"i,omitempty"`
}

// ModifiedTime returns when the object was written, or the zero time.
func (r *Ref) ModifiedTime() time.Time {
	if r.Modified == 0 {
		return time.Time{}
	}
	return time.UnixMilli(r.Modified).UTC()
}

// String returns the object's address.
func (r *Ref) String() string { return "s3://" + r.Bucket + "/" + r.Key }

// identity is what tells objects apart; a collision would cost an object.
type identity [16]byte

// identityOf tells two references of one object by what they say of it. Where
// keys are written once, as CloudTrail's are, the key alone says it.
func identityOf(r *Ref, writtenOnce bool) identity {
	h := sha256.New()
	fields := []string{r.Bucket, r.Key, r.Version, r.ETag}
	switch {
	case r.Flaw != "":
		fields = []string{r.Message}
	case writtenOnce:
		fields = fields[:2]
	}
	for _, f := range fields {
		fmt.Fprintf(h, "%d:%s", len(f), f)
	}
	return identity(h.Sum(nil)[:16])
}

// append writes the reference as a record of the manifest.
func (r *Ref) append(to []byte) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing a reference to %s: %w", r, err)
	}
	return append(to, text...), nil
}

func parseRef(text []byte) (Ref, error) {
	var r Ref
	if err := json.Unmarshal(text, &r); err != nil {
		return Ref{}, fmt.Errorf("the manifest holds something that is no reference: %w", err)
	}
	return r, nil
}
