// Package mqtt is a sink that publishes alerts to a broker of MQTT 3.1.1 with
// quality of service 1: a message counts as delivered when the broker has
// acknowledged it. MQTT does not drop repeats; the alert's id tells them.
package mqtt
