// Package mototest starts moto, which speaks the protocols of AWS's services
// out of its own memory: S3, SQS, Kinesis, CloudWatch Logs, STS and more. It
// needs Python 3 with pip, which fetches moto once into the user's cache folder.
//
// [Need] finds moto, or skips the test aloud, [Moto.Start] starts a [Server]
// that ends with the test, with corrections where moto differs too much from
// AWS (serve.py), and [NewProxy] stands between it and sluice, so that
// a test can take AWS away: moto itself forgets everything when it ends.
//
//	server := mototest.Need(t).Start(t)
//	proxy := mototest.NewProxy(t, server.Address)
//	client := kinesis.NewFromConfig(server.Config())
//	...
//	in := rig.New(t, "one", rig.Probing(server.Source("kinesis", proxy.Address, map[string]any{"stream": "logs"})))
package mototest
