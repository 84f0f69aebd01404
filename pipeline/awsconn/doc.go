// Package awsconn is how sources and sinks reach AWS: the region, the
// credentials, roles to take on, endpoints, certificates and time limits.
//
// It stands beside the runtime because sources and sinks need it alike and
// neither may import the other. It knows none of AWS's services but STS,
// which gives the credentials of roles.
//
// A component inlines [Settings] into its configuration, calls
// [Settings.Validate] from its own Validate, and [Settings.Load] when it
// runs. Load reads files and connects to nothing: credentials are fetched
// with the first request, cached, and renewed before they expire. What the
// settings leave out is taken from where AWS's own tools take it: variables
// such as AWS_REGION and AWS_PROFILE, the files in ~/.aws, the role of the
// container or the instance.
//
//	c, err := settings.Load(ctx)
//	...
//	client := kinesis.NewFromConfig(c)
//	defer awsconn.CloseIdle(c)
package awsconn
