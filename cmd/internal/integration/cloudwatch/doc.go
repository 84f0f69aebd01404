// Package cloudwatch tests the source cloudwatch on moto: sluice is killed and
// AWS is taken away while events come, some of them late.
package cloudwatch
