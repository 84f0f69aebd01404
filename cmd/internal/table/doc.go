// Package table writes what a command lists: aligned for people, or as JSON or
// CSV for programs.
package table
