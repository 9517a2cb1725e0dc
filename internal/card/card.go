// Package card makes the recovery card of a cluster: one page of paper that says where the backups are, which keys open and prove
// them, and what to type, with drd and without. It is for the day on which the cluster and the nodes' configuration are gone.
//
// Nothing on it is secret. Where the secrets are kept is left to be filled in by hand: a file that says so would be worth stealing.
package card

import (
	"bytes"
	_ "embed"
	"fmt"
	htmltemplate "html/template"
	"io"
	"net/url"
	"strings"
	texttemplate "text/template"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/seal"
)

var (
	//go:embed card.txt.tmpl
	text string
	//go:embed card.html.tmpl
	page string
)

// Title begins the text of every card.
const Title = "drd recovery card"

// Card is what stands on it.
type Card struct {
	Cluster    string // "" is left blank
	Made       time.Time
	Drd        string // version that made it
	Recipients []Recipient
	Signers    []Signer
	Targets    []Target
}

// Recipient is a public key that backups are sealed for.
type Recipient struct {
	Key         string // shortened where it would not fit on a line
	Fingerprint string // as manifests name it
}

// Signer is a key that signs backups.
type Signer struct{ Name, Fingerprint string }

// Target is a place with backups.
type Target struct {
	Name string
	Repo string // for --repo, as one word of a shell
	List string // what lists and fetches without drd
	Note string // what else it takes, or ""

	bucket bool
}

// longKey is the longest recipient that is written out: a classic one has 62 characters, a post-quantum one 1959.
const longKey = 80

// ParseRecipients reads the public keys of a list and of a recipients file, as the configuration has them; file may be "".
func ParseRecipients(inline []string, content []byte) ([]Recipient, error) {
	lines := append([]string(nil), inline...)
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	var all []Recipient
	for _, line := range lines {
		one, err := seal.ParseRecipients([]string{line}, "")
		if err != nil {
			return nil, fmt.Errorf("recovery card: %w", err)
		}
		if len(line) > longKey {
			line = line[:longKey-20] + "…"
		}
		all = append(all, Recipient{line, one.Fingerprints()[0]})
	}
	return all, nil
}

// ParseSigners reads an allowed signers file. A line that is none of a key is left out: whoever restores has the file.
func ParseSigners(content []byte) []Signer {
	var all []Signer
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		for i, f := range fields {
			if i == 0 || !strings.HasPrefix(f, "ssh-") && !strings.HasPrefix(f, "ecdsa-") {
				continue
			}
			if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Join(fields[i:], " "))); err == nil {
				all = append(all, Signer{fields[0], ssh.FingerprintSHA256(key)})
			}
			break
		}
	}
	return all
}

// Targets are those of a configuration, as somebody without it has to name them.
func Targets(cluster string, configured []config.Target) []Target {
	var all []Target
	for _, t := range configured {
		if t.S3 == nil {
			all = append(all, Target{Name: t.Name, Repo: quote("file://" + t.Dir), List: "ls " + quote(t.Dir+"/"+cluster+"/snapshots/"), Note: "a directory of the node, or what is mounted there"})
			continue
		}
		all = append(all, bucket(t.Name, cluster, t.S3))
	}
	return all
}

func bucket(name, cluster string, c *config.S3) Target {
	place := "s3://" + c.Bucket
	if c.Prefix != "" {
		place += "/" + c.Prefix
	}
	var options []string
	option := func(key, value string) {
		if value != "" {
			options = append(options, key+"="+url.QueryEscape(value))
		}
	}
	option("endpoint", c.Endpoint)
	option("region", c.Region)
	if c.PathStyle {
		option("path_style", "true")
	}
	if c.AllowPlainHTTP {
		option("allow_plain_http", "true")
	}
	t := Target{Name: name, Repo: place, bucket: true, List: "aws s3 cp --recursive " + quote(place+"/"+cluster+"/snapshots/ID") + " ."}
	if len(options) > 0 {
		t.Repo += "?" + strings.Join(options, "&")
	}
	t.Repo = quote(t.Repo)
	if c.Endpoint != "" {
		t.List = strings.Replace(t.List, "aws s3", "aws --endpoint-url "+quote(c.Endpoint)+" s3", 1)
	}
	if c.CAFile != "" {
		t.Note = "its certificate is of a private CA: bring that, and add &ca_file=FILE"
	}
	return t
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// view adds what both forms need.
type view struct {
	Card
	Title, Date string
	Name        string // of the cluster, or a blank
	First       string // the repository in the commands
}

func (c Card) view() view {
	v := view{Card: c, Title: Title, Date: c.Made.UTC().Format(time.DateOnly), Name: c.Cluster, First: "REPO"}
	if v.Name == "" {
		v.Name = "CLUSTER"
	}
	for _, t := range c.Targets {
		if v.First == "REPO" || t.bucket { // a directory may be gone with the node
			v.First = t.Repo
		}
		if t.bucket {
			break
		}
	}
	return v
}

// Text is the card for a terminal.
func (c Card) Text() ([]byte, error) {
	parsed, err := texttemplate.New("card").Parse(text)
	return c.fill(parsed, err)
}

func (c Card) fill(parsed interface{ Execute(io.Writer, any) error }, err error) ([]byte, error) {
	var out bytes.Buffer
	if err == nil {
		err = parsed.Execute(&out, c.view())
	}
	if err != nil {
		return nil, fmt.Errorf("recovery card: %w", err)
	}
	return out.Bytes(), nil
}

// HTML is the card for a printer: one page of A4 or Letter, with nothing outside of it.
func (c Card) HTML() ([]byte, error) {
	parsed, err := htmltemplate.New("card").Parse(page)
	return c.fill(parsed, err)
}
