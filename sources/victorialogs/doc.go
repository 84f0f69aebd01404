// Package victorialogs is the source of VictoriaLogs: what a LogsQL query
// finds, as sluice/sources/internal/logquery reads it.
//
// Its own tests run on a server made by the description of VictoriaLogs' HTTP
// API; those on VictoriaLogs itself are in cmd/internal/integration/victorialogs.
package victorialogs
