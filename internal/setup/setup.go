// Package setup writes the first configuration of a node. What the node can tell goes into it: where etcd is, with which files it
// is reached, what fits on the disk. What only a person knows stands there as CHANGE-ME, which drd refuses, so that a file
// that was not finished cannot pass for one. Nothing is asked of etcd, and nothing is changed.
package setup

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
	"unicode"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/distro"
)

//go:embed config.yaml.tmpl
var text string

// Blank stands where a person has to write.
const Blank = "CHANGE-ME"

// Options of a draft.
type Options struct {
	// Root is where the node's file system begins. Default: "/".
	Root string
	// Dir has the keys and the credentials. Default: "/etc/drd".
	Dir string
	// Cluster is its name; "" is left blank.
	Cluster string
	// Host is the name of the node, for the first line.
	Host string
	Now  time.Time
}

// Draft is a configuration that is valid but for its blanks.
type Draft struct {
	Text []byte
	// Blanks say what to write in place of each CHANGE-ME, in the order of the file.
	Blanks []string
	// Missing are the files that the configuration names and that are not there yet, with how to get them.
	Missing []string
	// Notes are what else was found that needs a hand.
	Notes []string
}

// New drafts the configuration of a node.
func New(n *distro.Node, opt Options) (*Draft, error) {
	if opt.Root == "" {
		opt.Root = "/"
	}
	if opt.Dir == "" {
		opt.Dir = "/etc/drd"
	}
	b := builder{Options: opt, Node: n, draft: &Draft{}}
	parsed, err := template.New("config").Funcs(template.FuncMap{"quote": quote, "line": line}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("draft a configuration: %w", err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, b.values()); err != nil {
		return nil, fmt.Errorf("draft a configuration: %w", err)
	}
	b.draft.Text = out.Bytes()
	return b.draft, nil
}

// quote writes a value as YAML in which nothing is expanded.
func quote(value string) string { return strconv.Quote(strings.ReplaceAll(value, "$", "$$")) }

// line keeps a text on its line.
func line(value string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, value)
}

// builder looks at the node for what the template says.
type builder struct {
	Options
	Node  *distro.Node
	draft *Draft
}

// values are what the template fills in, in its order.
func (b builder) values() map[string]any {
	v := map[string]any{"Host": b.Host, "Date": b.Now.UTC().Format(time.DateOnly), "Node": b.Node, "Dir": b.Dir}
	name := b.Cluster
	if name != "" {
		name = quote(name) // 123 and null are names, too
	}
	v["Cluster"] = b.blank(name, "cluster: a name of your choice, the same on all nodes of this cluster")
	if strings.HasPrefix(b.Node.Endpoint, "https") {
		v["CAFile"] = b.blank(b.Node.CAFile, "etcd.ca_file: the certificate of the CA of etcd; none is where etcd's settings say, or they name none. Without this line the system's CAs count")
		v["CertFile"] = b.blank(b.Node.CertFile, "etcd.cert_file: a client certificate for etcd; none was found")
		v["KeyFile"] = b.blank(b.Node.KeyFile, "etcd.key_file: its key")
		b.keyOwner()
	}
	v["Free"], v["Spool"] = b.room("/var/lib/drd")
	v["RecipientFile"] = b.present("recipient.txt")
	if v["RecipientFile"] == "" {
		b.blank("", "seal.recipients: the recipient of the identity that you keep off this node: `drd keygen --only identity` on another machine prints it")
	}
	if b.present("signing.key") == "" {
		b.missing(b.Dir+"/signing.key", "drd keygen --only signing --dir "+b.Dir)
	}
	v["TrustFile"] = b.present("allowed_signers")
	b.blank("", "targets[0].s3.bucket: the bucket for the backups")
	b.blank("", "targets[0].s3.region: its region")
	if b.present("s3-credentials") == "" {
		b.missing(b.Dir+"/s3-credentials", "write the access key of the bucket into it, in the format of ~/.aws/credentials, and chmod 600 it")
	}
	return v
}

// blank returns value, or CHANGE-ME with a line for what belongs there.
func (b builder) blank(value, what string) string {
	if value != "" {
		return value
	}
	b.draft.Blanks = append(b.draft.Blanks, what)
	return Blank
}

func (b builder) missing(path, how string) {
	b.draft.Missing = append(b.draft.Missing, path+": "+how)
}

// present is the path of a file in Dir, or "".
func (b builder) present(name string) string {
	path := filepath.Join(b.Dir, name)
	if _, err := os.Stat(filepath.Join(b.Root, path)); err != nil {
		return ""
	}
	return path
}

// keyOwner: the service has no power of root's, and cannot read what belongs to another user.
func (b builder) keyOwner() {
	if b.Node.KeyFile == "" {
		return
	}
	info, err := os.Stat(filepath.Join(b.Root, b.Node.KeyFile))
	if err != nil {
		return
	}
	if stat, known := info.Sys().(*syscall.Stat_t); known && stat.Uid != 0 {
		b.draft.Notes = append(b.draft.Notes, fmt.Sprintf("%s belongs to user %d: the service needs the drop-in etcd-owned-keys.conf, see docs/install.md", b.Node.KeyFile, stat.Uid))
	}
}

const (
	usualSpool = 10 << 30 // the default of spool_max_bytes, in bytes
	leastSpool = 64 << 20 // the least that drd takes for it
	// smallDatabase in bytes is what the room is compared with when the database cannot be seen.
	smallDatabase = 1 << 30
)

// room says what is free for state_dir, and how much of it may be filled with what waits: not more than half.
func (b builder) room(dir string) (free, spool string) {
	there := filepath.Join(b.Root, dir)
	for _, err := os.Stat(there); err != nil && there != "/"; _, err = os.Stat(there) { // the service makes it
		there = filepath.Dir(there)
	}
	n, err := disk.Free(there)
	if err != nil {
		return "an unknown amount", "10GiB"
	}
	if need := 3 * b.dbSize(); n < need {
		b.draft.Notes = append(b.draft.Notes, fmt.Sprintf("%s are free for %s, and a snapshot of this database should have %s: set state_dir to a larger disk", disk.Size(n), dir, disk.Size(need)))
	}
	bound := min(int64(usualSpool), max(n/2, leastSpool))
	return disk.Size(n), fmt.Sprintf("%dMiB", bound>>20)
}

// dbSize is that of etcd's file in bytes.
func (b builder) dbSize() int64 {
	info, err := os.Stat(filepath.Join(b.Root, b.Node.DataDir, "member/snap/db"))
	if err != nil || b.Node.DataDir == "" {
		return smallDatabase
	}
	return info.Size()
}
