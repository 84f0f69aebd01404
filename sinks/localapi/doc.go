// Package localapi is a sink that keeps decisions and serves them: the local
// API that CrowdSec's bouncers, engines and cscli speak, and a verdict for
// reverse proxies.
//
// Alerts that the pipeline delivers become alerts and decisions of the store
// (package store), once each, whatever comes again after a crash. The server
// (Run) answers from it. Two kinds of client sign in: bouncers, with a key or a
// certificate, may read decisions; machines, with a password or a certificate and
// then a token, may push alerts and manage decisions.
//
// What is served is version 1 of the local API as its specification describes
// it, besides /health and /v1/verdict.
package localapi
