// Package exec is a sink that runs a command for each alert or each of its
// decisions, as fail2ban's actions do.
//
// No shell is involved: every argument is a template of its own, and what it
// gives is one argument, whatever is in it. An alert's values may be an
// attacker's own words, so a value cannot become an option either (arguments.go).
// The command runs in a process group of its own (run.go), which is killed
// when its time is over.
package exec
