package past_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/past"
)

// asChild makes the test binary play the child process, in the way that its value names.
const asChild = "DRD_TEST_PAST"

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "":
		os.Exit(m.Run())
	case "read":
		os.Exit(past.Main(context.Background(), os.Args[1:], os.Stdout))
	case "panic":
		panic("page 7: not a leaf")
	case "endless":
		for {
			fmt.Println(`{"change":{"key":"YQ==","revision":2}}`)
		}
	case "silent":
		os.Exit(0)
	}
}

// reader is a Reader whose child behaves in the named way.
func reader(t testing.TB, way string) past.Reader {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return past.Reader{Command: []string{"/usr/bin/env", asChild + "=" + way, self}}
}
