// Package lapi holds the types of CrowdSec's local API, as its published
// specification defines them: what a LAPI is sent, and what it answers. They
// are generated; see cmd/internal/lapitypes.
package lapi

//go:generate go run sluice/cmd/internal/lapitypes ../../../shared/lapi/localapi_swagger.yaml types_gen.go
