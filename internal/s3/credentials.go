package s3

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"github.com/drd-project/drd/internal/hint"
)

// credentialsFile provides the keys in a file of the AWS shared credentials format, and looks at every request
// whether the file was changed: keys are rotated while the daemon runs.
type credentialsFile struct {
	path, profile string

	mu       sync.Mutex
	modified time.Time
	size     int64
	current  aws.Credentials
}

// openCredentials reads the file once, so that a bad one is found at start.
func openCredentials(path, profile string) (*credentialsFile, error) {
	if profile == "" {
		profile = awsconfig.DefaultSharedConfigProfile
	}
	f := &credentialsFile{path: path, profile: profile}
	if _, err := f.Retrieve(context.Background()); err != nil {
		return nil, err
	}
	return f, nil
}

// Retrieve implements aws.CredentialsProvider.
func (f *credentialsFile) Retrieve(ctx context.Context) (aws.Credentials, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return aws.Credentials{}, hint.New(fmt.Errorf("read credentials_file: %w", err), "it must be readable for the user that runs drd")
	}
	if others := info.Mode().Perm() & 0o007; others != 0 {
		return aws.Credentials{}, hint.New(fmt.Errorf("credentials_file %s is open to every user (mode %04o)", f.path, info.Mode().Perm()), "run `chmod 0600 %s`", f.path)
	}
	if f.current.HasKeys() && info.ModTime().Equal(f.modified) && info.Size() == f.size {
		return f.current, nil
	}
	keys, err := f.read(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	f.current, f.modified, f.size = keys, info.ModTime(), info.Size()
	return keys, nil
}

// read must not repeat any of the file in an error.
func (f *credentialsFile) read(ctx context.Context) (aws.Credentials, error) {
	profile, err := awsconfig.LoadSharedConfigProfile(ctx, f.profile, func(o *awsconfig.LoadSharedConfigOptions) {
		o.CredentialsFiles = []string{f.path}
		o.ConfigFiles = []string{}
	})
	if err != nil || !profile.Credentials.HasKeys() {
		return aws.Credentials{}, hint.New(fmt.Errorf("credentials_file %s has no keys for profile %q", f.path, f.profile),
			"it must hold [%s], aws_access_key_id = … and aws_secret_access_key = …", f.profile)
	}
	keys := profile.Credentials
	keys.Source = "credentials_file"
	return keys, nil
}

// forget makes the next Retrieve read the file, whatever its time says.
func (f *credentialsFile) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = aws.Credentials{}
}

// provider is a source of credentials that can be made to ask anew.
type provider interface {
	aws.CredentialsProvider
	forget()
}

// credentials counts the changes of the provider behind it, and marks its errors as its own: they come from inside an
// S3 request that was never sent, mixed with errors of that request.
type credentials struct {
	provider

	mu      sync.Mutex
	last    aws.Credentials
	changes int
}

// generation changes whenever other credentials than before are handed out.
func (c *credentials) generation() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes
}

// renew asks the source for new credentials, and tells whether there are others than those of the generation used, which the
// store has refused. Of many requests that fail together the first one asks.
func (c *credentials) renew(ctx context.Context, used int) bool {
	if c.generation() != used {
		return true
	}
	c.forget()
	_, err := c.Retrieve(ctx)
	return err == nil && c.generation() != used
}

type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve implements aws.CredentialsProvider.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := c.provider.Retrieve(ctx)
	if err == nil {
		c.note(keys)
		return keys, nil
	}
	if len(hint.Of(err)) == 0 { // the AWS chain's own, a page of everything that it tried
		err = hint.New(fmt.Errorf("no credentials in the AWS environment: %w", innermost(err)),
			"set credentials_file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return aws.Credentials{}, &credentialsError{err}
}

func (c *credentials) note(keys aws.Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keys.AccessKeyID != c.last.AccessKeyID || keys.SecretAccessKey != c.last.SecretAccessKey || keys.SessionToken != c.last.SessionToken {
		c.last = keys
		c.changes++
	}
}
