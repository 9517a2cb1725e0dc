package distro

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// plain is an etcd that somebody installed by itself: the process that runs, else its systemd unit, else the files in which
// packages keep its settings.
type plain struct{}

func (plain) Name() string { return "plain etcd" }

func (plain) find(h host) (*Node, error) {
	for _, look := range []func(host) (settings, []string){process, service, files} {
		s, evidence := look(h)
		if s == nil {
			continue
		}
		if file := s["config-file"]; file != "" { // then etcd goes by nothing else
			s, evidence = fromFile(h.read(file)), append(evidence, file)
		}
		n := &Node{Evidence: evidence, Endpoint: s.endpoint(), DataDir: s["data-dir"], Unit: "etcd.service"}
		if n.Endpoint == "" {
			n.Endpoint = "http://127.0.0.1:2379" // etcd's own default
		}
		if strings.HasPrefix(n.Endpoint, "https") {
			credentials(h, s, n)
		}
		return n, nil
	}
	return nil, nil
}

// process finds an etcd that runs, and what it was started with.
func process(h host) (settings, []string) {
	number, args := h.process("etcd")
	if number == "" {
		return nil, nil
	}
	s := fromEnvironment(strings.Split(string(h.read(path.Join("/proc", number, "environ"))), "\x00"))
	maps.Copy(s, fromFlags(args)) // flags win
	return s, []string{"process " + number}
}

// process is the first that runs a program, by its number, and its arguments.
func (h host) process(program string) (number string, args []string) {
	for _, name := range h.list("/proc") {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		words := strings.Split(strings.TrimRight(string(h.read(path.Join("/proc", name, "cmdline"))), "\x00"), "\x00")
		if path.Base(words[0]) == program {
			return name, words[1:]
		}
	}
	return "", nil
}

// ProcessSettings are those of a program that runs on the node, by the names of its flags without dashes; nil where it does not.
func ProcessSettings(root, program string) map[string]string {
	number, args := host{root}.process(program)
	if number == "" {
		return nil
	}
	return fromFlags(args)
}

// service reads the systemd unit of an etcd that may not run now.
func service(h host) (settings, []string) {
	variables, args, evidence := h.service("etcd.service")
	if evidence == nil {
		return nil, nil
	}
	s := fromEnvironment(variables)
	maps.Copy(s, fromFlags(args))
	return s, evidence
}

// files are where packages and manuals put etcd's settings.
func files(h host) (settings, []string) {
	if f := h.first("/etc/etcd/etcd.conf.yml", "/etc/etcd/etcd.conf.yaml", "/etc/etcd/etcd.yaml", "/etc/etcd.conf.yml"); f != "" {
		return fromFile(h.read(f)), []string{f}
	}
	if f := h.first("/etc/etcd/etcd.conf", "/etc/default/etcd", "/etc/etcd.env"); f != "" {
		return fromEnvironment(environmentFile(h.read(f))), []string{f}
	}
	return nil, nil
}

// credentials finds a certificate that lets a client in: the one that etcdctl is told of, one that is named for clients beside
// etcd's own, or etcd's own where it is good for clients.
func credentials(h host, s settings, n *Node) {
	n.CAFile = h.first(s["trusted-ca-file"])
	for _, f := range []string{"/etc/default/etcdctl", "/etc/profile.d/etcdctl.sh", "/etc/etcd/etcdctl.env", "/etc/etcd.env"} {
		variables := environmentFile(h.read(f))
		cert, key := variable(variables, "ETCDCTL_CERT", "ETCDCTL_CERT_FILE"), variable(variables, "ETCDCTL_KEY", "ETCDCTL_KEY_FILE")
		if n.CertFile, n.KeyFile = h.pair([2]string{cert, key}); cert != "" && n.CertFile != "" {
			n.CAFile = h.first(variable(variables, "ETCDCTL_CACERT", "ETCDCTL_CA_FILE"), n.CAFile)
			n.Evidence = append(n.Evidence, f)
			return
		}
	}
	own := s["cert-file"]
	dirs := []string{path.Dir(own)}
	if ca := path.Dir(s["trusted-ca-file"]); !slices.Contains(dirs, ca) {
		dirs = append(dirs, ca)
	}
	for _, dir := range dirs {
		for _, name := range []string{"client", "etcd-client", "etcdctl", "healthcheck-client", "admin"} {
			base := path.Join(dir, name)
			n.CertFile, n.KeyFile = h.pair([2]string{base + ".crt", base + ".key"}, [2]string{base + ".pem", base + "-key.pem"}, [2]string{base + ".pem", base + ".key"})
			if n.CertFile != "" {
				return
			}
		}
	}
	if own != "" && goodForClients(h.read(own)) {
		n.CertFile, n.KeyFile = h.pair([2]string{own, s["key-file"]})
	}
}

// variable is the value of the last line that sets one of these names: systemd and shells take that one.
func variable(variables []string, names ...string) string {
	for _, v := range slices.Backward(variables) {
		if name, value, _ := strings.Cut(v, "="); slices.Contains(names, name) {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

func goodForClients(text []byte) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	return err == nil && (slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny))
}
