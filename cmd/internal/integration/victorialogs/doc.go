// Package victorialogs tests the source victorialogs on VictoriaLogs itself,
// which is built from its Go module. What is tested of reading again and of
// kills holds for the source loki as well: all but the language is the same code.
package victorialogs
