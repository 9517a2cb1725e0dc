//go:build systemd

package systemd

import (
	"os"

	"github.com/drd-project/drd/test/planted"
)

// told prints all that drd told on a machine: to the journal, in the audit log, and what its HTTP server and its commands say.
const told = `
journalctl --no-pager -o cat -t drd -t drd-audit -u 'drd*'
cat /var/lib/drd/audit.jsonl* 2>/dev/null
if systemctl is-active --quiet drd; then
	port=$(sed -n 's/.*listen: *"\{0,1\}127\.0\.0\.1:\([0-9]*\).*/\1/p' /etc/drd/config.yaml)
	for page in / /metrics /readyz /healthz; do
		exec 3<>"/dev/tcp/127.0.0.1/${port:-9877}"
		printf 'GET %s HTTP/1.0\r\n\r\n' "$page" >&3
		cat <&3
	done
	drd status 2>&1
	systemctl show drd
fi
true
`

// noSecrets fails the test when a secret turns up in what drd told, or on the console.
func (m *machine) noSecrets() {
	if m.leader == 0 {
		return // it is off, and so was looked through before
	}
	out, err := m.try(told)
	if err != nil {
		m.t.Errorf("look for secrets: %v\n%s", err, planted.New().Redact(out))
		return
	}
	console, err := os.ReadFile(m.log)
	if err != nil {
		m.t.Error(err)
	}
	for _, found := range planted.New().Find(out + string(console)) {
		m.t.Errorf("what drd told on the machine holds %s, in line %d", found.Kind, found.Line)
	}
}
