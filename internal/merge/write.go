package merge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

// merge makes one segment of a run: the sources are read from the target, the sealed result goes there and is read back, and then
// its record makes it count.
func (m *Merger) merge(ctx context.Context, ids []age.Identity, r run) (err error) {
	if err := m.trusted(r[len(r)-1].Segment.To); err != nil {
		return &untrustedError{err}
	}
	var sources []archive.Source
	for _, e := range r {
		sources = append(sources, archive.Source{Segment: e.Segment, Digest: e.Digest})
	}
	sealed, err := archive.Merge(ctx, m.cfg.Dir, m.cfg.Recipients, m.cfg.Build, sources, m.opener(ids))
	if err != nil {
		return asContradiction(err)
	}
	defer func() { err = errors.Join(err, sealed.Remove()) }()
	signed, err := repo.SignSegment(sealed.Segment, m.cfg.Signer)
	if err != nil {
		return err
	}
	// The ring first: what is in the target must be there for the day that it becomes a part of.
	if err := m.cfg.Keys.Append(m.repo.SegmentPayloadKey(signed.Segment), sealed.Key); err != nil {
		return err
	}
	if err := m.repo.PutSegmentPayload(ctx, signed.Segment, sealed.Open); err != nil {
		return err
	}
	if err := archive.Prove(ctx, signed.Segment, m.opener([]age.Identity{sealed.Key.Identity()})); err != nil {
		return fmt.Errorf("read back what was merged: %w", err)
	}
	return m.repo.CommitSegment(ctx, signed)
}

// untrustedError: no segment by this node with those times counts.
type untrustedError struct{ error }

func (e *untrustedError) Unwrap() error { return e.error }

// contradictionError: segments of a run, each as it was signed, do not make one. Some writer signed what is not so.
type contradictionError struct{ error }

func (e *contradictionError) Unwrap() error { return e.error }

// asContradiction tells of a failed merge whether the segments are the cause, and neither the target nor the disk.
func asContradiction(err error) error {
	var join *archive.JoinError
	var source *archive.SegmentError
	var disk syscall.Errno
	if errors.As(err, &join) || errors.As(err, &source) || errors.As(err, &disk) {
		return err
	}
	return &contradictionError{err}
}

// trusted checks before the work what every reader will check after it: that a segment of this node, ending at to, counts.
func (m *Merger) trusted(to time.Time) error {
	probe := []byte("drd merges segments\n")
	signature, err := m.cfg.Signer.Sign(probe)
	if err == nil {
		_, err = m.cfg.Trust.Verify(probe, signature, to)
	}
	if err != nil {
		return hint.New(fmt.Errorf("what this node signs for %s does not count: %w", to.Format(time.RFC3339), err), "put its public key into trust.file")
	}
	return nil
}

// opener opens segments with the keys of this node, else with the identities.
func (m *Merger) opener(ids []age.Identity) archive.OpenFunc {
	return func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
		with := ids
		if key, ok := m.cfg.Keys.Get(m.repo.SegmentPayloadKey(s)); ok {
			with = []age.Identity{key.Identity()}
		}
		return archive.Open(ctx, m.repo, s, with)
	}
}

// leave sets aside what an error of a run is about, so that the next round goes on without it. What no segment is at fault for it
// returns.
func (m *Merger) leave(ctx context.Context, r run, err error, done *Result) error {
	var join *archive.JoinError
	var untrusted *untrustedError
	var contradiction *contradictionError
	var source *archive.SegmentError
	until := m.cfg.Now().Add(leaveFor)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &join):
		m.cut[join.Name] = until
		return nil
	case errors.As(err, &untrusted), errors.As(err, &contradiction):
		for _, e := range r {
			m.aside[e.Name] = until
		}
		done.Bad = append(done.Bad, err)
		return nil
	case errors.As(err, &source) && slices.ContainsFunc(r, func(e *repo.SegmentEntry) bool { return e.Name == source.Name }):
		return m.leaveSource(ctx, source, done)
	}
	return err
}

// leaveSource finds out whose fault it is that a source cannot be read: its own, or that of the target for now.
func (m *Merger) leaveSource(ctx context.Context, source *archive.SegmentError, done *Result) error {
	sealedErr := m.repo.CheckSegmentPayload(ctx, m.view[source.Name].Segment) // a broken envelope may have been so from the start
	switch {
	case errors.Is(sealedErr, storage.ErrNotExist): // it has just been removed
		m.aside[source.Name] = m.cfg.Now().Add(leaveFor)
		return nil
	case sealedErr != nil && !errors.Is(sealedErr, repo.ErrDamaged):
		return source
	}
	m.aside[source.Name] = m.cfg.Now().Add(leaveFor)
	done.Bad = append(done.Bad, badSource(source, sealedErr))
	return nil
}

func badSource(source *archive.SegmentError, sealedErr error) error {
	if sealedErr != nil {
		return hint.New(fmt.Errorf("segment %s is damaged: %w", source.Name, sealedErr), "a restore takes it from another target, or goes another way; run `drd check`")
	}
	return fmt.Errorf("segment %s is as it was sealed, and cannot be read: %w", source.Name, source.Err)
}
