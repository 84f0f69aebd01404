// Package rig is what the tests on real parts share: it builds the sluice
// binary, finds or installs the programs that a test needs, runs both, kills
// them and starts them again, and counts what was poured.
//
// A package of such tests has the build tag integration and a TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
//
// A test asks for its parts with Need, and for those of Python with NeedPython,
// which skip the test aloud where a machine cannot have them, starts them with Run, and makes an Instance of
// sluice. To count lines, it sends the lines that Line writes through whatever
// it tests, to an instance that has the rules of Probing, and asks the
// instance's Tally: each line makes one alert, and a line that was poured
// twice makes two with different ids.
//
//	rig.Need(t, "mosquitto", "mosquitto")
//	in := rig.New(t, "one", rig.Probing(source))
//	in.Start(t)
//	...
//	in.Kill(t)
//	in.Start(t)
//	in.Drained(t, 1000)            // until all have made their alert
//	in.Stop(t)
//	in.Tally(t).ExactlyOnce(t, 1000)
//
// Everything runs on loopback ports and in temporary folders, and ends with
// the test, whatever becomes of it.
package rig
