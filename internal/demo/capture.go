package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/repo"
)

// snapshots is how many are taken: more than one, so that there is a choice.
const snapshots = 3

// takeSnapshots is chapter 3.
func (d *demo) takeSnapshots(ctx context.Context) error {
	d.story.chapter("Snapshots, while the load goes on")
	for range snapshots {
		select { // the load should change something before each
		case <-time.After(d.pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := d.takeSnapshot(ctx); err != nil {
			return err
		}
	}
	if err := d.listSnapshots(ctx); err != nil {
		return err
	}
	return d.showCiphertext()
}

func (d *demo) takeSnapshot(ctx context.Context) error {
	d.story.command("drd --config node/config.yaml snapshot")
	result, err := d.node.runner.Run(ctx, d.node.client, nil, silent{})
	if err != nil {
		return err
	}
	m, o := result.Manifest, result.Outcomes[0]
	same, err := comparison(m)
	if err != nil {
		return err
	}
	if o.Proved == 0 {
		return fmt.Errorf("snapshot %s was not read back from %s", m.ID, o.Target)
	}
	d.newest = m
	d.story.output("revision %d, %d keys, %s; %s\nsealed, signed, stored in %s and read back: %.1f s",
		m.Revision, m.Keys, disk.Size(m.DBSize), same, o.Target, o.Proved.Seconds())
	return nil
}

func (d *demo) listSnapshots(ctx context.Context) error {
	d.story.command("drd --config node/config.yaml list     # some of its columns")
	c, err := d.node.target.Repo.Catalogue(ctx, d.node.trust)
	if err != nil {
		return err
	}
	rows := [][]string{{"  SNAPSHOT", "REVISION", "KEYS", "OBJECT", "SIGNER", "STATE"}}
	for _, e := range c.Entries {
		if e.State != repo.StateOK {
			return fmt.Errorf("snapshot %s is %s: %w", e.ID, e.State, e.Problem)
		}
		m := e.Manifest
		rows = append(rows, []string{"  " + m.ID, strconv.FormatInt(m.Revision, 10), strconv.FormatInt(m.Keys, 10),
			disk.Size(e.Payload.Size), e.Signer.Principal, string(e.State)})
	}
	if len(rows) != 1+snapshots {
		return fmt.Errorf("the target lists %d snapshots, %d were taken", len(rows)-1, snapshots)
	}
	d.story.table([]bool{true, false, false, false, true, true}, rows)
	return nil
}

// ageHeader begins every file that age encrypted (age-encryption.org/v1).
const ageHeader = "age-encryption.org/v1"

// showCiphertext looks at a stored object as somebody would who found the disk.
func (d *demo) showCiphertext() error {
	path := d.place.path("target", clusterName, "snapshots", d.newest.ID, d.newest.Object.Name)
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("look at the stored object: %w", err)
	}
	if !bytes.HasPrefix(content, []byte(ageHeader)) || bytes.Contains(content, []byte("/registry/")) {
		return fmt.Errorf("the stored object %s is not encrypted", path)
	}
	file := fmt.Sprintf("target/%s/snapshots/*-r%d-*/%s", clusterName, d.newest.Revision, d.newest.Object.Name)
	d.story.command("head -n 1 " + file)
	d.story.output("%s", ageHeader)
	d.story.command("grep -c /registry/ " + file)
	d.story.output("%d", bytes.Count(content, []byte("/registry/")))
	return nil
}
