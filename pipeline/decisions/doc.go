// Package decisions holds the decisions that are in force: who is to be banned,
// shown a captcha or slowed down, and until when.
//
// An Index answers what bouncers ask: what holds for this address (the address
// itself and every range around it), what is in force altogether, and what has
// changed since a bouncer asked last. Every addition and removal has a sequence
// number, which is the decision's id for an addition, so that "since" is a
// number and not a time. It is memory alone, and none of it holds a pointer
// for each decision: a million of them cost the garbage collector nothing.
//
// Times are given to it, never asked for: the index is as old as its caller
// says. Decisions end at whole seconds.
package decisions
