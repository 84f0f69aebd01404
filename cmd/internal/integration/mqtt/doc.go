// Package mqtt holds the tests of the source mqtt on a real Mosquitto. They run with the build tag integration.
package mqtt
