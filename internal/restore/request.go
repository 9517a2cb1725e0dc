package restore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

const (
	defaultName     = "default"               // etcd's --name
	defaultPeerURL  = "http://localhost:2380" // etcd's --initial-advertise-peer-urls
	defaultToken    = "etcd-cluster"          // etcd's --initial-cluster-token
	defaultLeaseTTL = time.Hour
)

// Request says what to restore and where to. Exactly one of Output, DataDir and InScratch is set.
type Request struct {
	// ID names the snapshot, or is a unique prefix of its name; "" is the newest one (repo.Catalogue.Latest). With the
	// whole ID a repository is searched for that snapshot alone, whatever else lies in it.
	ID string
	// Revision is the revision to restore, exactly as it was; 0 is that of the snapshot. A snapshot holds every revision from its
	// compact revision to its own; segments of the archive lead on from it.
	Revision int64
	// At is the instant to restore, to the second; zero: none. Not together with Revision. Without ID, Revision and At the newest
	// archived revision is restored, or the newest snapshot where that is newer.
	At time.Time
	// Since or SinceAt: what is made must hold every revision from this one (from what was there at this instant, to the second) to the
	// point asked for. Not both; both zero: whatever the snapshot holds.
	Since   int64
	SinceAt time.Time

	// Output is the file to write: a standard etcd snapshot with its SHA-256 trailer.
	Output string
	// DataDir is the etcd data directory to make. It must not exist, or be empty.
	DataDir string
	// InScratch makes the store in the scratch directory only: Options.Made gets it, and it is removed after that. It is exactly what etcd
	// had: Bump, ForEtcd and LeaseTTL do not apply.
	InScratch bool
	// WALDir is a separate WAL directory (etcd's --wal-dir); "" keeps the WAL in DataDir.
	WALDir string

	// Name, InitialCluster, InitialClusterToken and PeerURLs are the flags that the restored member
	// will be started with, with etcd's own defaults. They apply to DataDir only. An empty
	// InitialCluster is this member alone, as it is for etcd.
	Name                string
	InitialCluster      string
	InitialClusterToken string
	PeerURLs            []string

	// Bump is how far the revision is moved forward. Its zero value decides by what the store holds.
	Bump Bump
	// ForEtcd is the minor version of the servers that will run the result: "3.4", "3.5", "3.6" or
	// "3.7". "" leaves the storage version as it is, which suits any server not older than the source.
	ForEtcd string
	// InsecureSkipSignature restores a snapshot whose manifest nobody known has signed.
	InsecureSkipSignature bool
	// LeaseTTL is given to leases that live keys name but that have no record; default one hour.
	LeaseTTL time.Duration

	// Scratch is the directory in which the working directory is made. It must be on the file
	// system of the destination, so that the last step is a rename; default: beside the destination. A separate
	// WAL is always made beside its own. With InScratch it may be anywhere; default: the system's directory for temporary files.
	Scratch string
}

// RequestError is what is wrong with a Request in itself, whatever the repository holds.
type RequestError struct{ err error }

func (e *RequestError) Error() string { return e.err.Error() }
func (e *RequestError) Unwrap() error { return e.err }

// normalize returns the request with defaults filled in and absolute paths, or what is wrong with it.
func (r Request) normalize() (Request, error) {
	if err := r.checkModes(); err != nil {
		return r, err
	}
	if !r.At.IsZero() {
		r.At = r.At.UTC().Truncate(time.Second)
	}
	if !r.SinceAt.IsZero() {
		r.SinceAt = r.SinceAt.UTC().Truncate(time.Second)
	}
	if r.InScratch {
		r.Bump, r.Scratch = Bump{fixed: true}, cmp.Or(r.Scratch, os.TempDir())
	}
	for _, path := range []*string{&r.Output, &r.DataDir, &r.WALDir, &r.Scratch} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return r, fmt.Errorf("resolve path %q: %w", *path, err)
		}
		*path = abs
	}
	if r.LeaseTTL == 0 {
		r.LeaseTTL = defaultLeaseTTL
	}
	if r.DataDir == "" {
		return r, nil
	}
	r.fillMember()
	if nested(r.DataDir, r.WALDir) || nested(r.WALDir, r.DataDir) {
		return r, fmt.Errorf("wal directory %s and data directory %s contain each other", r.WALDir, r.DataDir)
	}
	return r, checkMember(r)
}

func (r Request) checkModes() error {
	switch {
	case r.InScratch && r.Output+r.DataDir+r.WALDir != "":
		return errors.New("what is made in scratch only has no output")
	case !r.InScratch && r.Output == "" && r.DataDir == "":
		return hint.New(errors.New("no destination given"), "give a file (--output) or a data directory (--data-dir)")
	case r.Output != "" && r.DataDir != "":
		return errors.New("an output file and a data directory exclude each other")
	case r.Output != "" && r.WALDir != "":
		return errors.New("a wal directory needs a data directory")
	case r.Revision < 0:
		return fmt.Errorf("revision %d is below 1", r.Revision)
	case r.Revision != 0 && !r.At.IsZero():
		return errors.New("a revision and a time exclude each other")
	case r.Since < 0:
		return fmt.Errorf("revision %d, to look back to, is below 1", r.Since)
	case r.Since != 0 && !r.SinceAt.IsZero():
		return errors.New("a revision and a time to look back to exclude each other")
	case r.Revision != 0 && r.Since > r.Revision:
		return fmt.Errorf("revision %d, to look back to, comes after revision %d", r.Since, r.Revision)
	case !r.At.IsZero() && r.SinceAt.After(r.At):
		return fmt.Errorf("%s, to look back to, comes after %s", r.SinceAt.Format(time.RFC3339), r.At.Format(time.RFC3339))
	case r.LeaseTTL < 0 || r.LeaseTTL%time.Second != 0:
		return fmt.Errorf("lease ttl %s is not a whole, positive number of seconds", r.LeaseTTL)
	case r.ForEtcd != "" && !slices.Contains(serverVersions, r.ForEtcd):
		return fmt.Errorf("unknown etcd version %q: known are %s", r.ForEtcd, strings.Join(serverVersions, ", "))
	}
	return nil
}

// looksBack reports whether a point is to be made with a part of its past.
func (r Request) looksBack() bool { return r.Since != 0 || !r.SinceAt.IsZero() }

func (r *Request) fillMember() {
	if r.Name == "" {
		r.Name = defaultName
	}
	if len(r.PeerURLs) == 0 {
		r.PeerURLs = []string{defaultPeerURL}
	}
	if r.InitialCluster == "" {
		r.InitialCluster = r.Name + "=" + strings.Join(r.PeerURLs, ","+r.Name+"=")
	}
	if r.InitialClusterToken == "" {
		r.InitialClusterToken = defaultToken
	}
}

// nested reports whether inner is outer or lies in it. Empty paths lie nowhere.
func nested(inner, outer string) bool {
	if inner == "" || outer == "" {
		return false
	}
	rel, err := filepath.Rel(outer, inner)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
