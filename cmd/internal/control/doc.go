// Package control lets one command tell a running pipeline to read its rules
// again, and learn what came of it.
//
// A pipeline with durable state announces itself in the state's folder: a
// file with its process id, which it holds a lock on for as long as it lives,
// so that a file left behind by a crash never names somebody else's process.
// The word itself is SIGHUP; the answer is a numbered file beside the first,
// replaced in one step.
package control
