package seal

import (
	"fmt"
	"io"
	"os"
)

// maxKeyFile bounds every key, recipients and signers file that is read, in bytes: far more than any
// real one, and little enough to hold in memory.
const maxKeyFile = 1 << 20

// readSmall reads a whole file, which may be a pipe.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: not a key file", path, maxKeyFile)
	}
	return content, nil
}
