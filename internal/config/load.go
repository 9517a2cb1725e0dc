package config

import (
	"fmt"
	"os"
	"reflect"

	"github.com/drd-project/drd/internal/hint"
)

// maxFileSize bounds what Load reads: a thousand times a real file, and a device or a database
// given by mistake does not fill the memory.
const maxFileSize = 1 << 20

// Load reads the file at path and returns its configuration: parsed, expanded, validated, and with
// the files it names checked. Problems with the content come as a join of *Error, all at once.
func Load(path string) (*Config, error) {
	c, unsound, err := Look(path)
	if err == nil {
		err = unsound
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Look is Load for somebody who needs none of the files that the configuration names: what CheckFiles says of them is unsound.
func Look(path string) (c *Config, unsound, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	if c, err = Parse(path, data); err != nil {
		return nil, nil, err
	}
	return c, c.CheckFiles(), nil
}

// Parse returns the configuration in data. It reads no file; name stands in the errors, and
// ${NAME} takes its value from the environment. See Load for errors.
func Parse(name string, data []byte) (*Config, error) {
	return parse(name, data, os.LookupEnv)
}

func parse(name string, data []byte, lookup func(string) (string, bool)) (*Config, error) {
	p := &problems{source: source{file: name, places: map[string]place{"": {1, 1}}}}
	c := defaults()
	if root := parseDocument(p, data); root != nil {
		d := decoder{problems: p, lookup: lookup}
		d.section(root, "", reflect.ValueOf(c).Elem())
		rules{p}.check(c)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	fillRegions(c.Targets)
	fillArchive(c)
	c.source = p.source
	return c, nil
}

// Place reads the state directory and the name of the cluster out of a configuration that may need variables of the service, such as
// ${CREDENTIALS_DIRECTORY}, which are not set here. What cannot be told is ""; both are where anything else is wrong with it.
func Place(data []byte) (stateDir, cluster string) {
	p := &problems{source: source{places: map[string]place{"": {1, 1}}}}
	root := parseDocument(p, data)
	if root == nil {
		return "", ""
	}
	c, unset := defaults(), 0
	d := decoder{problems: p, lookup: func(name string) (string, bool) {
		value, ok := os.LookupEnv(name)
		if !ok {
			unset++ // which is one problem
		}
		return value, ok
	}}
	d.section(root, "", reflect.ValueOf(c).Elem())
	rules{p}.check(c)
	if len(p.found) > unset {
		return "", ""
	}
	if !p.broken("state_dir") {
		stateDir = c.StateDir
	}
	if !p.broken("cluster") {
		cluster = c.Cluster
	}
	return stateDir, cluster
}

// fillArchive sets the default that hangs on retention: what the snapshots promise, the archive keeps, too.
func fillArchive(c *Config) {
	if c.Archive.KeepWithin == 0 {
		c.Archive.KeepWithin = max(shortestArchive, c.Retention.KeepWithin)
	}
}

// fillRegions sets the default that hangs on the endpoint.
func fillRegions(targets []Target) {
	for _, t := range targets {
		if t.S3 != nil && t.S3.Region == "" {
			t.S3.Region = defaultS3Region
		}
	}
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, hint.New(fmt.Errorf("read config: %w", err), "`drd config init` writes one for this host; --config names another")
	}
	if problem, advice := modeProblem(info, path, pathFile); problem != "" {
		return nil, withHint(fmt.Errorf("read config: %s %s", path, problem), advice)
	}
	if info.Size() > maxFileSize {
		return nil, fmt.Errorf("read config: %s has %d bytes, a configuration has at most %d", path, info.Size(), maxFileSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return data, nil
}
