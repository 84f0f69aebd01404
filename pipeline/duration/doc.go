// Package duration reads the durations of decisions and rules, which may hold days.
package duration
