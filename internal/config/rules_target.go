package config

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/drd-project/drd/internal/storage"
)

func (r rules) targets(targets []Target) {
	if len(targets) == 0 {
		r.fail("targets", "name a bucket or a directory", "at least one target is needed")
	}
	names, stores := make(map[string]int), make(map[string]int)
	for i, t := range targets {
		at := fmt.Sprintf("targets[%d]", i)
		r.name(at+".name", t.Name)
		if first, again := names[t.Name]; again && t.Name != "" {
			r.fail(at+".name", "", "is the name of targets[%d] already", first)
		}
		names[t.Name] = i
		r.target(at, t)
		if first, again := stores[t.store()]; again && t.store() != "" {
			r.fail(at, "a second copy needs a second place", "is the same place as targets[%d]", first)
		}
		stores[t.store()] = i
	}
}

func (r rules) target(at string, t Target) {
	s3, dir := r.written(at+".s3"), r.written(at+".dir")
	switch {
	case s3 && dir:
		r.fail(at, "make them two targets", "has both s3 and dir")
	case !s3 && !dir:
		r.fail(at, "set s3 or dir", "has neither s3 nor dir")
	case t.S3 != nil:
		r.s3(at+".s3", *t.S3)
	}
	r.limit(at+".upload_limit", t.UploadLimit)
	r.limit(at+".download_limit", t.DownloadLimit)
}

// minLimit in bytes per second: a GiB takes 18 hours at it. Less is most likely a unit that was forgotten.
const minLimit = 16 << 10

func (r rules) limit(at string, bytesPerSecond int64) {
	if bytesPerSecond != 0 && bytesPerSecond < minLimit {
		r.fail(at, "for example 20MiB; 0 is no limit", "is less than 16KiB per second")
	}
}

// store returns what tells two places apart, or "" when the target is incomplete.
func (t Target) store() string {
	switch {
	case t.Dir != "":
		return path.Clean(t.Dir)
	case t.S3 != nil && t.S3.Bucket != "":
		return strings.TrimSuffix(t.S3.Endpoint, "/") + "\n" + t.S3.Bucket + "\n" + t.S3.Prefix
	}
	return ""
}

// bucketPattern is Amazon's, old and new, and wide enough for the stores that speak its protocol.
var bucketPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)

// storageClassPattern: each store has classes of its own.
var storageClassPattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

func (r rules) s3(at string, s S3) {
	if r.require(at+".bucket", s.Bucket, "name the bucket") && !bucketPattern.MatchString(s.Bucket) {
		r.fail(at+".bucket", "the prefix and the endpoint have keys of their own", "is not a bucket name")
	}
	if !isPrefix(s.Prefix) {
		r.fail(at+".prefix", "for example backups/etcd", "must be up to %d bytes of names joined by single slashes, with none at either end", maxPrefix)
	}
	switch {
	case s.Endpoint != "":
		r.endpoint(at, s)
	case !r.broken(at + ".endpoint"):
		r.require(at+".region", s.Region, "set the region of the bucket, or the endpoint of a store that is not Amazon's")
	}
	if strings.ContainsAny(s.Region, " /") {
		r.fail(at+".region", "", "is not a region name")
	}
	r.encryption(at, s)
	r.storageClass(at+".storage_class", s.StorageClass)
	r.objectLock(at+".object_lock", s.ObjectLock)
}

func (r rules) endpoint(at string, s S3) {
	u, ok := r.url(at+".endpoint", s.Endpoint, "https://s3.example.com")
	if !ok || u.Scheme == "https" {
		return
	}
	if !s.AllowPlainHTTP {
		r.fail(at+".endpoint", "use https, with ca_file for a private CA; allow_plain_http: true is for a trusted network only", "is plain http")
	}
	if s.CAFile != "" {
		r.fail(at+".ca_file", "", "has no effect with an http endpoint")
	}
}

// maxPrefix in bytes: a key in a bucket has 1,024, of which drd's own part and a slash take 901.
const maxPrefix = 123

func isPrefix(s string) bool {
	return s == "" || len(s) <= maxPrefix && storage.CheckKey(s) == nil
}

func (r rules) encryption(at string, s S3) {
	if s.SSE == SSEKMS && s.KMSKeyID == "" && !r.broken(at+".kms_key_id") {
		r.fail(at+".sse", "set kms_key_id to the key's ARN or ID", "aws:kms needs kms_key_id as well")
	}
	if s.SSE != SSEKMS && s.KMSKeyID != "" && !r.broken(at+".sse") {
		r.fail(at+".kms_key_id", "set sse: aws:kms", "has no effect without sse: aws:kms")
	}
}

// storageClass refuses the classes that need a thaw of hours before a read: nothing stored there
// could be read back, and no restore could begin at once.
func (r rules) storageClass(at, class string) {
	switch {
	case class == "":
	case class == "GLACIER" || class == "DEEP_ARCHIVE":
		r.fail(at, "use STANDARD_IA or GLACIER_IR", "objects in %s cannot be read at once", class)
	case !storageClassPattern.MatchString(class):
		r.fail(at, "for example STANDARD_IA", "is not a storage class")
	}
}

func (r rules) objectLock(at string, lock ObjectLock) {
	if !r.written(at) {
		return
	}
	r.require(at+".mode", lock.Mode, "governance (a special permission can delete) or compliance (nobody can)")
	if lock.Days == 0 {
		r.fail(at+".days", "for example 30", "is missing")
	}
}
