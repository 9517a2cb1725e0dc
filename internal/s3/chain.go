package s3

import (
	"cmp"
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

// chain provides the credentials of the AWS environment: variables, shared files, web identity (a role and a
// token file), container and instance roles. The SDK renews what has an end, but reads the shared files once only; so it
// is set up again when one of those files changes, and when the store refuses what it gave.
type chain struct {
	profile string
	files   []string

	mu      sync.Mutex
	current aws.CredentialsProvider // nil: to be set up
	state   []fileState
}

// fileState is what tells that a file was changed. The zero value is a file that is not there.
type fileState struct {
	modified time.Time
	size     int64
}

// openChain also returns the region of the environment, "" where it has none.
func openChain(ctx context.Context, profile string) (*chain, string, error) {
	c := &chain{profile: profile, files: []string{
		cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), awsconfig.DefaultSharedCredentialsFilename()),
		cmp.Or(os.Getenv("AWS_CONFIG_FILE"), awsconfig.DefaultSharedConfigFilename()),
	}}
	c.state = c.look()
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, "", err
	}
	c.current = cfg.Credentials
	return c, cfg.Region, nil
}

func (c *chain) load(ctx context.Context) (aws.Config, error) {
	return awsconfig.LoadDefaultConfig(ctx, awsconfig.WithSharedConfigProfile(c.profile), awsconfig.WithLogger(logging.Nop{}))
}

func (c *chain) look() []fileState {
	all := make([]fileState, len(c.files))
	for i, file := range c.files {
		if info, err := os.Stat(file); err == nil {
			all[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return all
}

// Retrieve implements aws.CredentialsProvider.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	current, err := c.source(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	return current.Retrieve(ctx) // the SDK's own cache: one caller asks, the others wait
}

func (c *chain) source(ctx context.Context) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.look()
	if c.current != nil && slices.Equal(state, c.state) {
		return c.current, nil
	}
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	c.current, c.state = cfg.Credentials, state
	return c.current, nil
}

func (c *chain) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = nil
}
