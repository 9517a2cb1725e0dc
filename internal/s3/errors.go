package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

// operation names what a request is for, and the permission that it needs.
type operation struct{ verb, permission string }

// maxMessage bytes of a store's own words are repeated, on one line.
const maxMessage = 200

// explain turns what the SDK returned into one line of drd's own: the operation, the object, the reason, in parentheses
// the store's own words for who has to ask its operator. The SDK's chain of wrappers is dropped.
func (b *Bucket) explain(ctx context.Context, op operation, key string, err error) error {
	if err == nil {
		return nil
	}
	what := op.verb + " " + b.url(key)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	reason := b.trouble
	if statusOf(err) != 0 {
		reason = func(err error) error { return b.refusal(op, err) }
	}
	told := fmt.Errorf("%s: %w", what, reason(err))
	if passing(err) {
		return &passingError{told}
	}
	return told
}

// refusal is for errors that the store answered with.
func (b *Bucket) refusal(op operation, err error) error {
	status, code, answer := statusOf(err), codeOf(err), inParentheses(err)
	switch {
	case code == "NoSuchBucket":
		return hint.New(fmt.Errorf("%w %s", storage.ErrNoBucket, answer), "check the bucket's name and the region or endpoint")
	case isGone(err):
		return fmt.Errorf("the upload was ended by somebody else %s", answer)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w %s", storage.ErrNotExist, answer)
	case isLocked(err):
		return hint.New(fmt.Errorf("%w %s", storage.ErrLocked, answer), "it can be deleted when its retention ends")
	case isWrongRegion(err):
		return hint.New(fmt.Errorf("the bucket is in another region than %s %s", b.cfg.Region, answer), "%s", regionHint(err))
	case isSkewed(err):
		return hint.New(fmt.Errorf("this machine's clock differs too much from the store's %s", answer), "set the clock: `timedatectl status`, `chronyc tracking`")
	case isRejected(err):
		return hint.New(fmt.Errorf("%w: the store does not accept these credentials %s", storage.ErrDenied, answer), "%s", b.credentialsHint())
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return hint.New(fmt.Errorf("%w %s", storage.ErrDenied, answer), "%s", b.permissionHint(op))
	case isFull(err):
		return hint.New(fmt.Errorf("the store is full %s", answer), "free space there, or raise its quota")
	case code == "SlowDown" || status == http.StatusTooManyRequests:
		return fmt.Errorf("the store asks for less traffic %s", answer)
	case status == http.StatusNotImplemented:
		return hint.New(fmt.Errorf("the store cannot do this %s", answer), "drd needs conditional writes (If-None-Match) and SHA-256 checksums")
	case strings.Contains(code+messageOf(err), "ObjectLock"):
		return hint.New(fmt.Errorf("the bucket takes no retention %s", answer), "create the bucket with Object Lock, or leave out object_lock")
	case status < 300:
		return fmt.Errorf("the store's answer is not understood %s", answer)
	}
	return fmt.Errorf("the store refused %s", answer)
}

// inParentheses is "(403 AccessDenied: message, request id X)", with what there is of it.
func inParentheses(err error) string {
	text := fmt.Sprintf("%d %s", statusOf(err), codeOf(err))
	if m := messageOf(err); m != "" && m != codeOf(err) {
		text += ": " + m
	}
	text = oneLine(text)
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok && response.ServiceRequestID() != "" {
		text += ", request id " + oneLine(response.ServiceRequestID())
	}
	return "(" + text + ")"
}

func messageOf(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	return strings.TrimSuffix(api.ErrorMessage(), ".")
}

// oneLine keeps a store from writing more than a line into logs, or control characters onto a terminal.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s)), " ")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

func (b *Bucket) credentialsHint() string {
	if b.cfg.CredentialsFile == "" {
		return "renew the credentials in the AWS environment; the shared files and the token file are read again when they change"
	}
	return "renew the keys in credentials_file; the file is read again when it changes"
}

func (b *Bucket) permissionHint(op operation) string {
	needs := []string{op.permission}
	if op == opPut && b.cfg.ObjectLock.Mode != "" {
		needs = append(needs, "s3:PutObjectRetention")
	}
	if op == opPut && strings.HasPrefix(b.cfg.SSE, "aws:kms") {
		needs = append(needs, "kms:GenerateDataKey", "kms:Decrypt")
	}
	text := "the credentials need " + strings.Join(needs, ", ")
	if op == opStat {
		text += "; without s3:ListBucket stores say 403 instead of 404"
	}
	return text
}

// isLocked recognizes a delete that Object Lock forbids. AWS and versitygw answer AccessDenied and explain in the message.
func isLocked(err error) bool {
	message := strings.ToLower(messageOf(err))
	return codeOf(err) == "ObjectLocked" || codeOf(err) == "InvalidRequest" && strings.Contains(message, "worm") ||
		statusOf(err) == http.StatusForbidden && strings.Contains(message, "object lock")
}

// isRejected recognizes that the store does not accept the credentials, whatever the request. An answer to HEAD has no
// code; then 400 is what AWS says of an expired token.
func isRejected(err error) bool {
	switch codeOf(err) {
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "InvalidToken", "InvalidTokenId", "TokenRefreshRequired":
		return true
	case "BadRequest":
		return statusOf(err) == http.StatusBadRequest && messageOf(err) == ""
	}
	return false
}

// isFull recognizes a store without room: by its name for that, or by what its disk said in the middle of a write.
func isFull(err error) bool {
	return statusOf(err) == http.StatusInsufficientStorage || strings.Contains(codeOf(err), "StorageFull") ||
		strings.Contains(codeOf(err), "QuotaExceeded") || strings.Contains(messageOf(err), "no space left on device")
}

func isSkewed(err error) bool { return codeOf(err) == "RequestTimeTooSkewed" }

// isTaken recognizes the answer to a conditional write whose key is taken.
func isTaken(err error) bool {
	return statusOf(err) == http.StatusPreconditionFailed || codeOf(err) == "PreconditionFailed"
}

// isGone recognizes that an upload was joined or aborted.
func isGone(err error) bool { return codeOf(err) == "NoSuchUpload" }

// isConflict recognizes the answer while another writer's request for the same key is under way.
func isConflict(err error) bool {
	return codeOf(err) == "ConditionalRequestConflict" || codeOf(err) == "OperationAborted"
}

func isWrongRegion(err error) bool {
	status := statusOf(err)
	return status >= 300 && status < 400 || codeOf(err) == "AuthorizationHeaderMalformed" && strings.Contains(messageOf(err), "region")
}

func regionHint(err error) string {
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok && response.Response != nil {
		if region := response.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return "set region: " + oneLine(region)
		}
	}
	return "set region to the bucket's, which the store's message may name; path_style: true for a store that is not AWS"
}

// trouble is for errors without an answer: names, connections, TLS, credentials.
func (b *Bucket) trouble(err error) error {
	endpoint := b.cfg.Endpoint
	if endpoint == "" {
		endpoint = "AWS in " + b.cfg.Region
	}
	if own, ok := errors.AsType[*credentialsError](err); ok {
		return own.err
	}
	if errors.Is(err, errNoListing) {
		return hint.New(errNoListing, "check the endpoint, and that no proxy answers in its place")
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); !ok {
		return innermost(err)
	}
	if bad := certificateTrouble(err); bad != nil {
		return fmt.Errorf("connect to %s: %w", endpoint, bad)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		h := "check the endpoint and /etc/resolv.conf"
		if !b.cfg.PathStyle && b.cfg.Endpoint != "" {
			h += "; a store that is not AWS often wants path_style: true"
		}
		return hint.New(fmt.Errorf("connect to %s: no address for %s: %w", endpoint, dns.Name, innermost(err)), "%s", h)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return hint.New(fmt.Errorf("connect to %s: %w", endpoint, syscall.ECONNREFUSED), "nothing listens there: check the endpoint's port, and that the store runs")
	case speaksHTTP(err):
		return hint.New(fmt.Errorf("connect to %s: the server does not speak TLS", endpoint), "check the endpoint's port")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: %w: no byte moved for %v", endpoint, storage.ErrStalled, b.cfg.StallTimeout)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) { // no caller may take io.EOF for the end of something
		return fmt.Errorf("%s: the connection broke: %w", endpoint, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: %w", endpoint, innermost(err))
}

func certificateTrouble(err error) error {
	if bad, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return hint.New(bad, "put the certificate of the store's CA into ca_file")
	}
	if bad, ok := errors.AsType[x509.HostnameError](err); ok {
		return hint.New(bad, "use the name in the certificate as endpoint; path_style: true keeps the bucket out of the host name")
	}
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return hint.New(bad, "renew the store's certificate; if it is valid, set this machine's clock")
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return hint.New(bad.Err, "check the store's certificate and ca_file")
	}
	return nil
}

// speaksHTTP recognizes net/http's complaint about a plain-text server, which has no type.
func speaksHTTP(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// innermost returns the error at the bottom of the chain, without the SDK's and net/http's words around it.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
