package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// Draft is a segment that is being written: a sealed file that grows as changes are appended to its Writer. Plaintext never
// reaches the disk. It ends with Finish or with Discard.
type Draft struct {
	*Writer
	file     *os.File
	counted  *counting
	envelope *seal.Sealer
	format   seal.Format
	to       *seal.Recipients
}

// Begin starts a segment with revision first, in a new file of dir.
func Begin(dir string, to *seal.Recipients, first int64) (*Draft, error) {
	file, err := os.CreateTemp(dir, storage.TempPrefix)
	if err != nil {
		return nil, fmt.Errorf("begin a segment: %w", err)
	}
	d := &Draft{file: file, counted: &counting{w: file, sum: sha256.New()}, format: seal.Default(), to: to}
	if d.envelope, err = d.format.Seal(d.counted, to); err != nil {
		return nil, errors.Join(fmt.Errorf("begin a segment: %w", err), d.Discard())
	}
	d.Writer = NewWriter(d.envelope, first)
	return d, nil
}

// Facts are what a segment's manifest says and its changes do not.
type Facts struct {
	Cluster, EtcdClusterID, Timeline string
	Member                           repo.Member
	From, To                         time.Time // see repo.Segment
	CompactRevision                  int64
	Checkpoints                      []repo.Checkpoint
	// LastRevisionSHA256 is used in a silence, where the changes themselves do not say it: what the segment before had.
	LastRevisionSHA256 string
	ClockSkewNote      string
	Previous           string // digest of the segment before it, by this writer
	Base               string // ID of the snapshot it follows
	Build              repo.Build
}

// Sealed is a finished segment on the disk of this node, not signed yet.
type Sealed struct {
	Path    string        // of the sealed object; the owner gives it another name, or removes it
	Segment *repo.Segment // its manifest
	Key     seal.FileKey  // opens it
}

// Open opens the sealed object, for repo.PutSegment.
func (s *Sealed) Open() (io.ReadCloser, error) { return os.Open(s.Path) }

// Remove removes the sealed object.
func (s *Sealed) Remove() error {
	if err := os.Remove(s.Path); err != nil {
		return fmt.Errorf("remove sealed segment: %w", err)
	}
	return nil
}

// Finish completes the object, which is on the disk then, and describes it. Any error leaves nothing.
func (d *Draft) Finish(f Facts) (*Sealed, error) {
	summary, err := d.seal()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("finish the segment from revision %d: %w", d.first, err), d.Discard())
	}
	s := &Sealed{Path: d.file.Name(), Key: d.envelope.FileKey(), Segment: d.describe(summary, f)}
	if err := s.Segment.Validate(); err != nil {
		return nil, errors.Join(fmt.Errorf("finish the segment from revision %d: %w", d.first, err), s.Remove())
	}
	return s, nil
}

func (d *Draft) seal() (Summary, error) {
	summary, err := d.Writer.Close()
	if err != nil {
		return Summary{}, err
	}
	if err := d.envelope.Close(); err != nil {
		return Summary{}, err
	}
	if err := d.file.Sync(); err != nil {
		return Summary{}, err
	}
	return summary, d.file.Close()
}

func (d *Draft) describe(summary Summary, f Facts) *repo.Segment {
	s := &repo.Segment{
		Kind: repo.SegmentKind, Format: repo.SegmentFormat,
		Cluster: f.Cluster, EtcdClusterID: f.EtcdClusterID, Timeline: f.Timeline, Member: f.Member,
		First: summary.First, Last: summary.Last, Events: summary.Entries,
		From: f.From.UTC(), To: f.To.UTC(), CompactRevision: f.CompactRevision, Checkpoints: f.Checkpoints,
		LastRevisionSHA256: summary.LastRevisionSHA256, ClockSkewNote: f.ClockSkewNote,
		Plain: repo.SegmentPlain{SHA256: summary.SHA256, Size: summary.Size},
		Object: repo.Object{
			SHA256: hex.EncodeToString(d.counted.sum.Sum(nil)), Size: d.counted.n,
			Envelope: d.format.Name(), Recipients: d.to.Fingerprints(),
		},
		Previous: f.Previous, Base: f.Base, Drd: f.Build,
	}
	if s.Silence() {
		s.LastRevisionSHA256 = f.LastRevisionSHA256
	}
	s.Object.Name = s.Name().String() + d.format.Extension()
	return s
}

// Discard gives the segment up and removes its file.
func (d *Draft) Discard() error {
	err := d.file.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if err = errors.Join(err, os.Remove(d.file.Name())); err != nil {
		return fmt.Errorf("discard a segment: %w", err)
	}
	return nil
}

// counting hashes and counts what it passes on.
type counting struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}
