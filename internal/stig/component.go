package stig

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/drd-project/drd/internal/distro"
)

// component is a program of the control plane and how it was started.
type component struct {
	source   string            // its manifest
	settings map[string]string // by flag; nil where they are not known
	why      string            // then
	absent   bool              // it does not run on this node
}

// component reads a static pod's manifest, as the kubelet runs it. A server of RKE2 may be told to run only some of them.
func (in inspector) component(n *distro.Node, program string) component {
	c := component{source: path.Join(n.Manifests, program+".yaml")}
	switch off := "disable-" + strings.TrimPrefix(program, "kube-"); { // RKE2's setting
	case n.Config[off] == true:
		c.why, c.absent = "not on this server: "+off, true
	case !in.exists(c.source):
		c.why = "not known: the manifest is not there"
	default:
		c.settings = distro.PodSettings(in.read(c.source), program)
		c.why = "not known: the manifest has no " + program
	}
	return c
}

// etcd is as component; where it has a file of its own, it goes by nothing else.
func (in inspector) etcd(n *distro.Node) component {
	c := in.component(n, "etcd")
	own := path.Join(n.DataDir, "config") // RKE2's
	if c.settings["config-file"] == "" && !in.exists(own) {
		return c
	}
	if f := c.settings["config-file"]; in.exists(f) {
		own = f
	}
	c.settings, c.why = distro.EtcdFile(in.read(own)), "not known: "+own+" cannot be read"
	return c
}

func (in inspector) exists(p string) bool {
	_, err := os.Stat(in.at(p))
	return p != "" && !errors.Is(err, fs.ErrNotExist)
}

// flag compares one flag in the manifest.
func (c component) flag(id, control, name, expected string, good func(string) bool) Finding {
	return c.compare(id, control, c.source+" --"+name, expected, name, good)
}

// compare compares one setting. What is not known is not as expected.
func (c component) compare(id, control, subject, expected, name string, good func(string) bool) Finding {
	if c.settings != nil {
		return setting(id, control, subject, expected, c.settings[name], good)
	}
	f := Finding{ID: id, Control: control, Subject: subject, Expected: expected, Found: c.why, Result: Fail}
	if c.absent {
		f.Result = NotApplicable
	}
	return f
}
