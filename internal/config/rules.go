package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

// rules are the demands on values beyond their types, and between keys.
type rules struct{ *problems }

func (r rules) check(c *Config) {
	r.name("cluster", c.Cluster)
	r.directories(c)
	r.schedules(c)
	if r.written("verify") && !r.written("etcd") && !r.written("seal") {
		r.verifier(c)
	} else {
		r.etcd(c.Etcd)
		r.seal(c.Seal)
		r.require("signing.key_file", c.Signing.KeyFile, "write one with `drd keygen`")
	}
	r.targets(c.Targets)
	r.retention(c.Retention)
	r.metrics(c.Metrics)
	r.absolute(c)
}

// fail reports a broken rule, unless the value itself is already known to be wrong.
func (r rules) fail(path, advice, format string, args ...any) {
	if !r.broken(path) {
		r.add(path, advice, format, args...)
	}
}

// require reports a key without a value.
func (r rules) require(path, value, advice string) bool {
	if value == "" {
		r.fail(path, advice, "is missing")
	}
	return value != ""
}

// together reports that the key at path needs another one that is not set. One that is written and could not be read has its own problem.
func (r rules) together(path, value, otherKey, other string) {
	if value != "" && other == "" && !r.broken(otherKey) {
		r.fail(path, "", "needs %s as well", otherKey)
	}
}

// namePattern keeps names safe as a path segment of every store, a metric label and a shell word.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func (r rules) name(path, value string) {
	if !r.require(path, value, "give it a name, for example prod-east") {
		return
	}
	if problem := nameProblem(value); problem != "" {
		r.fail(path, "for example prod-east", "%s", problem)
	}
}

func nameProblem(value string) string {
	switch {
	case !namePattern.MatchString(value):
		return "must be 1 to 63 lower-case letters, digits, dots, dashes and underscores, beginning with a letter or digit"
	case strings.Contains(value, ".."):
		return "must not have two dots in a row"
	}
	return ""
}

// CheckCluster says what is wrong with a name for a cluster that is not in a file yet.
func CheckCluster(name string) error {
	if problem := nameProblem(name); problem != "" {
		return hint.New(fmt.Errorf("cluster %q: %s", name, problem), "for example prod-east")
	}
	return nil
}

func (r rules) etcd(e Etcd) {
	if len(e.Endpoints) == 0 {
		r.fail("etcd.endpoints", "set etcd: {endpoints: [https://127.0.0.1:2379]}", "at least one endpoint is needed")
	}
	plain := r.endpoints(e.Endpoints)
	r.together("etcd.cert_file", e.CertFile, "etcd.key_file", e.KeyFile)
	r.together("etcd.key_file", e.KeyFile, "etcd.cert_file", e.CertFile)
	r.together("etcd.username", e.Username, "etcd.password_file", e.PasswordFile)
	r.together("etcd.password_file", e.PasswordFile, "etcd.username", e.Username)
	if plain {
		for _, key := range []string{"etcd.ca_file", "etcd.cert_file", "etcd.key_file"} {
			if r.written(key) {
				r.fail(key, "write https:// in etcd.endpoints, or remove this key", "has no effect with http endpoints")
			}
		}
	}
}

// endpoints checks each endpoint and returns whether all are plain http.
func (r rules) endpoints(endpoints []string) (plain bool) {
	var schemes []string
	for i, endpoint := range endpoints {
		path := fmt.Sprintf("etcd.endpoints[%d]", i)
		u, ok := r.url(path, endpoint, "https://127.0.0.1:2379")
		if !ok {
			continue
		}
		if u.Port() == "" {
			r.fail(path, "etcd listens on 2379 unless told otherwise", "needs a port")
		}
		if len(schemes) > 0 && !slices.Contains(schemes, u.Scheme) {
			r.fail(path, "use https for all of them", "mixes http and https")
		}
		if slices.Contains(endpoints[:i], endpoint) {
			r.fail(path, "", "is listed twice")
		}
		schemes = append(schemes, u.Scheme)
	}
	return len(schemes) > 0 && !slices.Contains(schemes, "https")
}

// url checks that value is scheme://host[:port] and nothing more. It never repeats the value:
// what is wrong with it may be a password in it.
func (r rules) url(path, value, example string) (*url.URL, bool) {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		r.fail(path, "for example "+example, "must be http://host:port or https://host:port")
	case u.User != nil:
		r.fail(path, adviceSecretFile, "has a user name or password in it")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		r.fail(path, "", "must end after the port")
	case u.Port() != "" && !isPort(u.Port()):
		r.fail(path, "", "must have a port from 1 to 65535")
	default:
		return u, true
	}
	return nil, false
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (r rules) directories(c *Config) {
	if c.StateDir == c.RuntimeDir {
		r.fail("runtime_dir", "the state must survive a reboot, the runtime directory must not", "is the same directory as state_dir")
	}
}

func (r rules) schedules(c *Config) {
	loc, err := loadZone(c.Snapshot.Timezone)
	if err != nil {
		r.fail("snapshot.timezone", "", "%s", err)
		return
	}
	for _, s := range []struct{ path, spec string }{
		{"snapshot.schedule", c.Snapshot.Schedule}, {"verify.schedule", c.Verify.Schedule},
	} {
		if s.spec == "" {
			continue
		}
		if _, err := ParseSchedule(s.spec, loc); err != nil {
			r.fail(s.path, `five cron fields in quotes, for example "0 */6 * * *", or @hourly, @daily, "@every 4h"`, "%s", err)
		}
	}
}

func (r rules) seal(s Seal) {
	if len(s.Recipients) == 0 {
		if s.RecipientsFile == "" && !r.broken("seal.recipients_file") {
			r.fail("seal.recipients", "write an identity with `drd keygen`, keep it off this machine, and put its age1… recipient here", "at least one recipient is needed: nothing is stored unencrypted")
		}
		return
	}
	for i := range s.Recipients { // growing, so that the one that breaks the set is the last
		at := fmt.Sprintf("seal.recipients[%d]", i)
		if r.broken(at) {
			return
		}
		if _, err := seal.ParseRecipients(s.Recipients[:i+1], ""); err != nil {
			r.addErr(at, err)
			return
		}
	}
}

func (r rules) retention(keep Retention) {
	if keep == (Retention{}) || r.brokenBelow("retention") {
		return // no section: everything is kept
	}
	keep.MinCopies = 0
	if keep == (Retention{}) {
		r.fail("retention", "set last, hourly, daily, weekly, monthly, yearly or keep_within, or remove the section to keep everything", "keeps nothing")
	}
}

func (r rules) metrics(m Metrics) {
	if m.Textfile != "" && !strings.HasSuffix(m.Textfile, ".prom") {
		r.fail("metrics.textfile", "name it drd.prom, in the directory of node_exporter's --collector.textfile.directory", "must end with .prom, or nobody reads it")
	}
	host, port, err := net.SplitHostPort(m.Listen)
	if err != nil || !isPort(port) {
		r.fail("metrics.listen", "for example 127.0.0.1:9877", "must be host:port")
		return
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && m.WebConfigFile == "" && !r.broken("metrics.web_config_file") {
		r.fail("metrics.listen", "set metrics.web_config_file (TLS and passwords, Prometheus web configuration), or listen on 127.0.0.1", "is open to other machines without a web_config_file")
	}
}
