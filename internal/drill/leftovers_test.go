package drill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
)

// victimJob is what a process of the test that is going to be killed should do.
type victimJob struct{ Target, Scratch, ID, Identity, Trust string }

// victimMain drills until it is killed: it says so when plaintext lies in scratch, and waits there.
func victimMain(ctx context.Context, job string) int {
	var j victimJob
	err := json.Unmarshal([]byte(job), &j)
	if err == nil {
		err = j.run(ctx)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func (j victimJob) run(ctx context.Context) error {
	bucket, err := openDir(j.Target)
	if err != nil {
		return err
	}
	r, err := repo.Open(bucket, cluster)
	if err != nil {
		return err
	}
	trust, err := seal.LoadTrust(j.Trust)
	if err != nil {
		return err
	}
	ids, err := seal.LoadIdentities([]string{j.Identity}, nil)
	if err != nil {
		return err
	}
	id, err := repo.ParseID(j.ID)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d, err := drill.New(drill.Config{
		Trust: trust, ScratchDir: j.Scratch, Inspector: snapshot.Inspector{Command: []string{self, inspectChild}},
		Keys: func(context.Context, *repo.Repository, *repo.Manifest) ([]age.Identity, string, error) {
			return ids, "identity", nil
		},
	})
	if err != nil {
		return err
	}
	d.Drill(ctx, drill.Target{Repo: r}, id, proof.LevelData, nil, atStep{drill.CheckHashKV, func() {
		fmt.Println("here")
		time.Sleep(time.Minute)
	}})
	return errors.New("it was not killed")
}

// TestLeftovers: what a killed drill has left is wiped by the next process, and what a living one has is not.
func TestLeftovers(t *testing.T) {
	src, p := ordinary(t, "3.7"), newPlace(t)
	_, id := p.publish(t, src, captureTime)
	job, err := json.Marshal(victimJob{p.path, p.config.ScratchDir, id.String(), p.keys.IdentityFile, p.keys.TrustFile})
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.CommandContext(t.Context(), self(t), victimChild, string(job))
	victim.Stderr = os.Stderr
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	plaintext := func() []string {
		found, err := filepath.Glob(filepath.Join(p.config.ScratchDir, "drill-*", ".drd-restore-*", "db"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			for ; path != p.config.ScratchDir; path = filepath.Dir(path) {
				if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s: mode %v, %v", path, st.Mode(), err)
				}
			}
		}
		return found
	}
	if _, err := drill.New(p.config); err != nil {
		t.Fatal(err)
	}
	if found := plaintext(); len(found) != 1 {
		t.Errorf("while the drill runs: %q", found)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := victim.Wait(); err == nil {
		t.Error("the victim ended well")
	}
	if found := plaintext(); len(found) != 1 {
		t.Errorf("after the kill: %q", found)
	}
	if _, err := drill.New(p.config); err != nil {
		t.Fatal(err)
	}
	p.wantWiped(t)
}
