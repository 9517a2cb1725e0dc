package seal_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

// TestApprovedOnly runs this program under fips140=only, where the age format cannot work: every entry
// must say so at once. Without the check, making a hybrid identity would never return.
func TestApprovedOnly(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", "DRD_TEST_APPROVED_ONLY=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	if got := strings.Count(string(out), "fips140=only forbids X25519"); got != 6 {
		t.Errorf("%d of 6 entries refuse:\n%s", got, out)
	}
	if got := strings.Count(string(out), "hint: run with GODEBUG=fips140=on"); got != 6 {
		t.Errorf("%d of 6 refusals have the hint:\n%s", got, out)
	}
}

func runApprovedOnly() int {
	var errs []error
	_, err := seal.ParseRecipients([]string{"age1pq1"}, "")
	errs = append(errs, err)
	_, err = seal.LoadIdentities([]string{os.DevNull}, nil)
	errs = append(errs, err)
	_, _, err = seal.GenerateIdentity(true)
	errs = append(errs, err)
	_, err = seal.Default().Seal(&bytes.Buffer{}, nil)
	errs = append(errs, err)
	_, err = seal.Default().Open(&bytes.Buffer{}, nil)
	errs = append(errs, err)
	_, err = seal.Unlock(nil, nil)
	errs = append(errs, err)
	for _, err := range errs {
		fmt.Println(err, "hint:", strings.Join(hint.Of(err), "; "))
	}
	return 0
}
