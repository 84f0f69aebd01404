// Package loki tests the source loki in a sluice that is killed, on a server
// made by the description of Loki's API: Loki itself is not among its parts.
package loki
