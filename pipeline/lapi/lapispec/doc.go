// Package lapispec reads the published specification of CrowdSec's local API,
// for the generator of types and for tests that hold clients and servers to it.
//
// The specification is no part of this repository: SLUICE_LAPI names the folder
// that it is in. It is in the form of Swagger 2 and becomes OpenAPI 3, which
// validators read; its prose stays behind, since names and types are the interface.
package lapispec
