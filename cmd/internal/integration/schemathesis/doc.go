// Package schemathesis has schemathesis, a fuzzer of APIs that reads OpenAPI
// (PyPI), try the local API of a running sluice: requests that its description
// calls good and requests that it calls bad, each answer held to it.
//
// hooks.py says how it signs in and what the description's own formats are;
// schemathesis.toml names the checks that are left out, with the reasons.
package schemathesis
