// Package app is what the commands of sluice share: the configuration file,
// the run of a pipeline from sources to sinks, and the replay of files.
package app
