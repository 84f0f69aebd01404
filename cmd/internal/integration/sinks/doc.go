// Package sinks tests the smaller sinks on real parts, with kill -9 while
// they deliver: email on aiosmtpd with STARTTLS and AUTH, mqtt on Mosquitto,
// nats on nats-server, syslog on rsyslog, file with rotation.
package sinks
