// Package sourcetest runs a source in a test and looks at what it emits: for
// sources whose outside is a fake within the test's process.
//
//	env, log := sourcetest.Env(clock, t.TempDir())
//	s, err := New("name", config, env)
//	...
//	r := sourcetest.Start(t, s, log, nil)
//	r.Expect("topic/0:a,b")
//	next := r.Stop()
//
// Read looks at the lines one after the other, for tests that play a broker.
package sourcetest
