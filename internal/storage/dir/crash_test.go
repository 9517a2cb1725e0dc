package dir_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/storage/dir"
)

// writerRoot in the environment turns this test program into a writer for TestCrash.
const writerRoot = "DRD_TEST_WRITER_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(writerRoot); root != "" {
		os.Exit(write(root))
	}
	os.Exit(m.Run())
}

// write creates objects until it is killed. Each is announced on stdout when Create has returned.
func write(root string) int {
	b, err := dir.Open(root, dir.Options{})
	for i := 0; err == nil && i < 1_000_000; i++ {
		key := fmt.Sprintf("run-%d/dir-%d/object-%d", os.Getpid(), i/5, i)
		_, err = b.Create(context.Background(), key, bytes.NewReader(crashContent(key)))
		fmt.Println(key)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// crashContent is up to 256 KiB that depend on key alone.
func crashContent(key string) []byte {
	var seed [32]byte
	copy(seed[:], key[len(key)-min(len(key), 32):])
	r := rand.NewChaCha8(seed)
	data := make([]byte, r.Uint64()%(256<<10))
	_, _ = r.Read(data) // never fails
	return data
}

// TestCrash kills a writer at random moments of its work. What it leaves are whole objects and unlisted temporary files.
func TestCrash(t *testing.T) {
	b, root := open(t)
	announced := 0
	for range 20 {
		out := writeAndKill(t, root, time.Duration(rand.IntN(60))*time.Millisecond)
		for _, key := range bytes.Fields(out) {
			announced++
			if _, err := b.Stat(t.Context(), string(key)); err != nil {
				t.Errorf("an object that was announced: %v", err)
			}
		}
	}
	listed := keys(t, b)
	for _, key := range listed {
		r, err := b.Open(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if r.Close(); err != nil || !bytes.Equal(got, crashContent(key)) {
			t.Errorf("%s is not whole: %d bytes, %v", key, len(got), err)
		}
	}
	left, err := b.Incomplete(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d announced, %d listed, %d unfinished", announced, len(listed), len(left))
	if announced == 0 || len(listed) < announced || len(left) > 20 {
		t.Errorf("%d announced, %d listed, %d unfinished", announced, len(listed), len(left))
	}
}

// said is what the writer says; begun is closed at its first word.
type said struct {
	words []byte
	begun chan struct{}
}

func (s *said) Write(p []byte) (int, error) {
	if len(s.words) == 0 {
		close(s.begun)
	}
	s.words = append(s.words, p...)
	return len(p), nil
}

// writeAndKill returns what the writer said until it was killed, without a last line that is cut. It has begun by then: to start a
// program can take longer than all its work.
func writeAndKill(t *testing.T, root string, after time.Duration) []byte {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerRoot+"="+root)
	out, errs := &said{begun: make(chan struct{})}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-out.begun:
	case <-time.After(time.Minute):
		t.Error("the writer says nothing")
	}
	time.Sleep(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatalf("the writer ended by itself: %v: %s", err, errs.Bytes())
	}
	_ = cmd.Wait() // killed
	return out.words[:bytes.LastIndexByte(out.words, '\n')+1]
}
