package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// firstKeys is the generation of the credentials that the first request asks for.
	firstKeys = 1
	// firstPause is the longest pause before the second attempt; it doubles up to maxPause.
	firstPause = 400 * time.Millisecond
	maxPause   = 20 * time.Second
)

// try makes a request up to the configured number of times while its error may pass. It makes one more where the store
// does not accept the credentials and there are others by now, or does not accept this machine's time: the SDK goes by the
// store's from then on. A backup must not wait for someone to set a clock. lost tells that an attempt before the last ended without an
// answer, so what it asked for may have been done.
func (b *Bucket) try(ctx context.Context, request func(ctx context.Context) error) (lost bool, err error) {
	longest, corrected := firstPause, false
	for n := 1; ; n++ {
		used := max(b.keys.generation(), firstKeys)
		if err = request(ctx); err == nil {
			return lost, nil
		}
		if !corrected && ctx.Err() == nil && (isSkewed(err) || isRejected(err) && b.keys.renew(ctx, used)) {
			corrected = true
			n--
			continue
		}
		if n == b.cfg.Attempts || ctx.Err() != nil || !passing(err) {
			return lost, err
		}
		lost = lost || unanswered(err)
		// Full jitter: nodes that failed together do not come back together.
		pause(ctx, min(retryAfter(err), maxPause)+rand.N(longest))
		longest = min(2*longest, maxPause)
	}
}

// retryAfter is how long the store asks to wait, 0 where it does not say.
func retryAfter(err error) time.Duration {
	response, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok || response.Response == nil {
		return 0
	}
	text := response.Response.Header.Get("Retry-After")
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	seconds, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// pause returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// passing tells whether the same request may succeed later: overload, a server's fault, a conflict with
// another writer, damage on the way, a broken connection. Not: anything the store said no to.
func passing(err error) bool {
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return false
	}
	switch status := statusOf(err); {
	case errors.Is(err, errNoListing):
		return true
	case status == 0:
		_, sent := errors.AsType[*smithyhttp.RequestSendError](err)
		return sent && !hopeless(err)
	case status == http.StatusNotImplemented:
		return false
	case unanswered(err), status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return true
	}
	return slices.Contains(passingCodes(), codeOf(err))
}

func passingCodes() []string {
	return []string{
		"SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestTimeout", "InternalError", "ServiceUnavailable",
		"ConditionalRequestConflict", "OperationAborted", // another writer of this key, see isConflict
		"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody", // damaged on the way
	}
}

// unanswered tells that the store may have carried the request out all the same: no answer came, or one that
// breaks off (a good status, and yet an error), or one from a server in trouble or from a proxy in front of it.
func unanswered(err error) bool {
	status := statusOf(err)
	return status < 300 || status >= 500
}

// hopeless is for connections that will fail in the same way next time.
func hopeless(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok || speaksHTTP(err)
}

// statusOf returns the HTTP status of the store's answer, 0 without one.
func statusOf(err error) int {
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok && response.Response != nil {
		return response.HTTPStatusCode()
	}
	return 0
}

// codeOf returns S3's name for the error, such as "NoSuchKey".
func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}
