package prune

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage/dir"
)

const (
	// pruneRoot and pruneTrust in the environment turn this test program into a prune of that directory for TestKill.
	pruneRoot  = "DRD_TEST_PRUNE_ROOT"
	pruneTrust = "DRD_TEST_PRUNE_TRUST"
	// killRounds prunes are killed, each before it has deleted more than killObjects: all of them together leave some of the 174
	// objects that are to go, however late the kill comes.
	killRounds, killObjects = 15, 11
)

func TestMain(m *testing.M) {
	if root := os.Getenv(pruneRoot); root != "" {
		os.Exit(pruneChild(root, os.Getenv(pruneTrust)))
	}
	os.Exit(m.Run())
}

// killPolicy leaves two of the snapshots of TestKill.
func killPolicy() retention.Policy {
	return retention.Policy{Last: 2, MinCopies: 1, Period: 30 * 24 * time.Hour}
}

func pruneChild(root, trustFile string) int {
	left := killObjects
	trust, err := seal.LoadTrust(trustFile)
	if err == nil {
		err = pruneDir(root, trust, func(string) error {
			if left--; left >= 0 {
				return nil
			}
			time.Sleep(time.Minute)
			return errors.New("nobody killed this prune")
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// pruneDir prunes a directory, and calls before for each object that goes.
func pruneDir(root string, trust *seal.Trust, before func(key string) error) error {
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		return err
	}
	r, err := repo.Open(&watched{Bucket: b, before: before}, cluster)
	if err != nil {
		return err
	}
	plan, err := Make(context.Background(), Target{Name: "t", Repo: r}, trust, killPolicy(), time.Now())
	if err != nil {
		return err
	}
	fmt.Println("deleting")
	return plan.Run(context.Background()).Err()
}

// TestKill kills a prune at random moments of its deletions. After each, everything that lists as whole restores, and the
// newest two are there; in the end one more prune leaves exactly those.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := inDirectory(t)
	ids := p.every(24*time.Hour, 60)
	p.age(25 * time.Hour)
	cut := 0
	for range killRounds {
		killed := pruneAndKill(t, p.root, p.trustFile, time.Duration(random.IntN(4000))*time.Microsecond)
		got := p.restorable()
		if len(got) < 2 || !sameIDs(got[len(got)-2:], ids[58:]) {
			t.Fatalf("left are %v", got)
		}
		if killed && len(got) > 2 {
			cut++
		}
	}
	if cut < killRounds {
		t.Errorf("%d of %d prunes were killed while they had something to do", cut, killRounds)
	}
	if err := pruneDir(p.root, p.trust, nil); err != nil {
		t.Fatal(err)
	}
	if got := p.restorable(); !sameIDs(got, ids[58:]) || len(p.keys()) != 6 {
		t.Errorf("in the end %v and %d objects are left", got, len(p.keys()))
	}
}

// pruneAndKill starts a prune and kills it so long after its first deletion may have begun. It reports whether the prune
// was still running.
func pruneAndKill(t *testing.T, root, trust string, after time.Duration) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), pruneRoot+"="+root, pruneTrust+"="+trust)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 64)); err != nil {
		_ = cmd.Wait()
		t.Fatalf("the prune did not begin: %v: %s", err, errs.Bytes())
	}
	time.Sleep(after)
	_ = cmd.Process.Kill() // it may have ended
	err = cmd.Wait()
	if err != nil && cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("%v: %s", err, errs.Bytes())
	}
	return err != nil
}
