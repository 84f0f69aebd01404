package workload

import (
	"fmt"
)

var (
	hosts    = []string{"web-1", "web-2", "db-1", "bastion"}
	staff    = []string{"deploy", "alice", "bob", "carol", "backup"}
	guesses  = []string{"root", "admin", "test", "oracle", "postgres", "git", "ubuntu", "ftp", "pi", "guest", "www", "minecraft"}
	cronJobs = []string{"run-parts --report /etc/cron.hourly", "/usr/lib/sysstat/sa1 1 1", "/usr/local/bin/rotate-metrics"}
)

// syslog writes an RFC 3164 line as rsyslog writes it to a file.
func (s *Stream) syslog(host, program, message, key string) Line {
	return Line{Syslog, s.now, fmt.Sprintf("%s %s %s[%d]: %s",
		s.now.UTC().Format("Jan _2 15:04:05"), host, program, s.nextPID(), message), key}
}

func (s *Stream) nextPID() int {
	s.pid = 1000 + (s.pid-999)%60000
	return s.pid
}

// ssh is everyday noise of SSH daemons and of what else writes to syslog.
func (s *Stream) ssh() Line {
	host, addr := pick(s, hosts), s.visitorAddr()
	port := 30000 + s.rng.IntN(30000)
	switch n := s.rng.IntN(100); {
	case n < 35:
		return s.syslog(host, "sshd", fmt.Sprintf("Accepted publickey for %s from %s port %d ssh2: ED25519 SHA256:9bF0Zk1VqW", pick(s, staff), addr, port), addr)
	case n < 55:
		return s.syslog(host, "sshd", fmt.Sprintf("pam_unix(sshd:session): session opened for user %s(uid=1000) by (uid=0)", pick(s, staff)), addr)
	case n < 60:
		// Someone mistypes a password now and then.
		return s.syslog(host, "sshd", fmt.Sprintf("Failed password for %s from %s port %d ssh2", pick(s, staff), addr, port), addr)
	case n < 80:
		return s.syslog(host, "CRON", fmt.Sprintf("(root) CMD (%s)", pick(s, cronJobs)), host)
	}
	return s.syslog(host, "systemd", "Started session-"+fmt.Sprint(s.rng.IntN(9000))+".scope - Session of User deploy.", host)
}

// bruteForce guesses passwords of one account.
func bruteForce(s *Stream, a *attacker) Line {
	return s.syslog(hosts[len(a.addr)%len(hosts)], "sshd",
		fmt.Sprintf("Failed password for root from %s port %d ssh2", a.addr, 40000+a.step), a.addr)
}

// enumerate tries names until one is known.
func enumerate(s *Stream, a *attacker) Line {
	name := guesses[a.step%len(guesses)]
	if a.step >= len(guesses) {
		name += fmt.Sprint(a.step)
	}
	return s.syslog(hosts[len(a.addr)%len(hosts)], "sshd",
		fmt.Sprintf("Invalid user %s from %s port %d", name, a.addr, 40000+a.step), a.addr)
}
