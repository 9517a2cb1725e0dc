//go:build systemd

package systemd

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// policy is Debian's build of the reference policy, as the tools below see it.
const policy = "/etc/selinux/default/contexts/files/file_contexts"

// labels looks up the SELinux types of paths in a file of contexts, by the path.
func (n *node) labels(contexts string, paths []string) map[string]string {
	n.t.Helper()
	types := make(map[string]string)
	for line := range strings.Lines(n.run("matchpathcon -f " + contexts + " " + strings.Join(paths, " "))) {
		path, label, _ := strings.Cut(strings.TrimSpace(line), "\t")
		parts := strings.Split(label, ":")
		types[path] = parts[min(2, len(parts)-1)]
	}
	return types
}

var fcLine = regexp.MustCompile(`(?m)^(/\S+)\s+(?:--\s+)?system_u:object_r:(\w+):s0$`)

// stepSELinux: every type that drd.fc names is one of the policy, every line of it is met by a path of drd, and none gives a file
// another label than the policy does by itself, which is what makes a policy module needless.
func (n *node) stepSELinux(t *testing.T) {
	const shipped = "/usr/share/doc/drd/examples/drd.fc"
	n.run("cat " + policy + " " + shipped + " >/root/fc && sefcontext_compile -p /etc/selinux/default/policy/policy.* -o /root/fc.bin /root/fc")
	n.run("echo '/x -- system_u:object_r:drd_none_t:s0' >/root/wrong")
	if out := n.fails("sefcontext_compile -p /etc/selinux/default/policy/policy.* -o /root/wrong.bin /root/wrong"); !strings.Contains(out, "drd_none_t is not defined") {
		t.Errorf("a type that is not in the policy: %s", out)
	}

	paths := append(strings.Fields(n.run("rpm -ql drd")), "/etc/drd/config.yaml", "/etc/drd/signing.key", "/var/lib/drd", "/var/lib/drd/audit.jsonl",
		"/var/lib/drd/spool/prod-east/snapshots", "/run/drd", "/run/drd/keys/k")
	alone, both := n.labels(policy, paths), n.labels("/root/fc", paths)
	for _, path := range paths {
		// The policy leaves it to whoever makes something in /run.
		if ours := strings.HasPrefix(path, "/run/"); both[path] == "default_t" || both[path] != alone[path] && !(ours && alone[path] == "<<none>>") {
			t.Errorf("%s: %s by the policy, %s with drd.fc", path, alone[path], both[path])
		}
	}
	lines := fcLine.FindAllStringSubmatch(n.run("cat "+shipped), -1)
	if len(lines) < 4 {
		t.Fatalf("drd.fc has %d lines", len(lines))
	}
	for _, line := range lines {
		spec := regexp.MustCompile("^" + line[1] + "$")
		met := slices.ContainsFunc(paths, func(path string) bool {
			return spec.MatchString(path) && both[path] == line[2] || spec.MatchString("/var"+path) && both[path] == line[2]
		})
		if !met {
			t.Errorf("%s: no path of drd is labelled by it", line[0])
		}
	}
	n.wantLabelsOfRHEL()
}

// wantLabelsOfRHEL: RHEL up to 9 looks /run up as /var/run, which the policy here does the other way round.
func (n *node) wantLabelsOfRHEL() {
	n.t.Helper()
	n.run("cp /usr/share/doc/drd/examples/drd.fc /root/rhel && echo '/run /var/run' >/root/rhel.subs_dist")
	if got := n.labels("/root/rhel", []string{"/run/drd/keys/k"}); got["/run/drd/keys/k"] != "var_run_t" {
		n.t.Errorf("on RHEL: %v", got)
	}
}
