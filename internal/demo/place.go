package demo

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/drd-project/drd/internal/hint"
)

// maxSocketPath is the longest path of a unix socket in bytes: sun_path is 104 bytes on the BSDs and macOS, 108 on
// Linux, with the zero at its end.
const maxSocketPath = 103

// place is the directory in which everything happens:
//
//	etcd/      the data directory of the etcd
//	peer.sock  where the etcd listens for peers (it has none)
//	etcd.log   what it logs
//	node/      what the server node has of drd: configuration, recipient, signing key, state
//	safe/      what is kept elsewhere: the identity, and the list of signers
//	target/    where the snapshots go
//	forged/    copies of a snapshot that somebody changed
//	daemon.log what drd daemon logs in the second act
//
// The second act restores two data directories more, before-the-mistake/ and before-the-disaster/.
type place string

// newPlace makes a new directory in parent, "" for the system's temporary one, open to nobody else.
func newPlace(parent string) (place, error) {
	dir, err := os.MkdirTemp(parent, "drd-demo-")
	if err != nil {
		return "", fmt.Errorf("make the demo's directory: %w", err)
	}
	p, err := prepare(dir)
	if err != nil {
		// The first error is the one to read: what is left is an almost empty directory.
		_ = os.RemoveAll(dir)
		return "", err
	}
	return p, nil
}

func prepare(dir string) (place, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("make the demo's directory: %w", err)
	}
	p := place(dir)
	if socket := p.path("peer.sock"); len(socket) > maxSocketPath {
		return "", hint.New(fmt.Errorf("make the demo's directory: %s is too long a name for a socket", socket), "choose a directory with a shorter name: drd demo --dir DIR")
	}
	for _, name := range []string{"node", "safe", "target", "forged"} {
		if err := p.make(name); err != nil {
			return "", err
		}
	}
	return p, nil
}

// make makes one of the directories.
func (p place) make(name string) error {
	if err := os.Mkdir(p.path(name), 0o700); err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	return nil
}

func (p place) path(elem ...string) string {
	return filepath.Join(append([]string{string(p)}, elem...)...)
}

// write makes a file.
func (p place) write(mode os.FileMode, content string, elem ...string) error {
	if err := os.WriteFile(p.path(elem...), []byte(content), mode); err != nil {
		return fmt.Errorf("write a file of the demo: %w", err)
	}
	return nil
}

// writeAll makes files in one of the directories, of names and contents.
func (p place) writeAll(dir string, files map[string]string) error {
	for name, content := range files {
		if err := p.write(0o600, content, dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (p place) read(elem ...string) (string, error) {
	content, err := os.ReadFile(p.path(elem...))
	if err != nil {
		return "", fmt.Errorf("read a file of the demo: %w", err)
	}
	return string(content), nil
}

// lose removes directories as a fire would.
func (p place) lose(names ...string) error {
	for _, name := range names {
		if err := os.RemoveAll(p.path(name)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

func (p place) remove() error {
	if err := os.RemoveAll(string(p)); err != nil {
		return fmt.Errorf("remove the demo's directory: %w", err)
	}
	return nil
}
