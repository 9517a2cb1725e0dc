package survey_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/survey"
)

// BenchmarkRead surveys large stores in a child process. anon-MiB is the peak of the child's anonymous memory: the memory map of
// the file, which the system takes back when it likes, is left out.
func BenchmarkRead(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000, 2_000_000, 5_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			path := survey.LargeStore(b, keys)
			self, err := os.Executable()
			if err != nil {
				b.Fatal(err)
			}
			var peak int64
			for b.Loop() {
				cmd := exec.Command(self, path, "1")
				cmd.Env = append(os.Environ(), asChild+"=measured")
				out, err := cmd.Output()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := fmt.Sscan(string(out), &peak); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(peak)/(1<<20), "anon-MiB")
		})
	}
}

// measured does what the child does, and prints the most anonymous memory that it was seen to have, in bytes.
func measured() error {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		for {
			most = max(most, anonymous())
			select {
			case <-stop:
				result <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	var said strings.Builder
	code := survey.Main(context.Background(), os.Args[1:], &said)
	close(stop)
	most := <-result
	if code != 0 || most == 0 {
		return fmt.Errorf("%d bytes, %s", most, said.String())
	}
	fmt.Println(most)
	return nil
}

// anonymous is this process's resident memory that belongs to no file, in bytes; 0 when the kernel does not say.
func anonymous() (bytes int64) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "RssAnon: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}
