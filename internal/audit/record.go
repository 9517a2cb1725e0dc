package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxText bounds a name that the outside chose, in bytes. A key of an S3 object has 1024 at most.
	maxText = 1024
	// maxHost bounds the name of a host, in bytes; Linux has 64.
	maxHost = 255
	// Genesis is the previous hash of the first record of all.
	Genesis = "0000000000000000000000000000000000000000000000000000000000000000"
)

// Record is one line of the log. docs/audit.md says what the fields mean.
type Record struct {
	Sequence   int64     `json:"sequence,omitempty"` // from 1 on, without a gap; 0: it is in no file
	Time       time.Time `json:"time"`               // UTC
	Event      Name      `json:"event"`
	Outcome    Outcome   `json:"outcome"`
	ErrorClass string    `json:"error_class,omitempty"`
	Object     string    `json:"object,omitempty"`
	Target     string    `json:"target,omitempty"`
	Count      int64     `json:"count,omitempty"`
	Actor      Actor     `json:"actor"`
	Host       string    `json:"host"`
	Cluster    string    `json:"cluster,omitempty"`
	Continues  bool      `json:"continues,omitempty"` // it is the first of a file, and goes on where a full one ends
	Lost       int64     `json:"lost,omitempty"`      // records of the same process before this one that could not be written
	Previous   string    `json:"previous,omitempty"`  // SHA-256, in hex, of the line before, without its newline
}

// Actor is who did it, as far as the kernel and sudo tell.
type Actor struct {
	UID int `json:"uid"`
	// LoginUID is who logged in, whoever he has become since; nil: nobody did, as with a service.
	LoginUID *int64 `json:"login_uid,omitempty"`
	// SudoUser and SudoUID are what sudo left in the environment. Unlike LoginUID, who is root can set them at will.
	SudoUser string `json:"sudo_user,omitempty"`
	SudoUID  string `json:"sudo_uid,omitempty"`
	PID      int    `json:"pid"`
	Command  string `json:"command"` // such as "drd restore", without arguments
}

// notLoggedIn is the login uid of a process that nobody's login has led to.
const notLoggedIn = 1<<32 - 1

func currentActor(command string) Actor {
	a := Actor{UID: os.Getuid(), PID: os.Getpid(), Command: command, SudoUser: bounded(os.Getenv("SUDO_USER"), 64), SudoUID: bounded(os.Getenv("SUDO_UID"), 16)}
	text, err := os.ReadFile("/proc/self/loginuid")
	if err != nil {
		return a // a kernel without audit
	}
	if uid, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && uid != notLoggedIn {
		a.LoginUID = &uid
	}
	return a
}

// bounded is s as text of at most n bytes.
func bounded(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// line is the record as it is written, without newline.
func (r *Record) line() ([]byte, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode audit record: %w", err)
	}
	return line, nil
}

// hashOf is what the line after this one holds.
func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Class puts a name to errors.
type Class struct {
	Err  error // by errors.Is
	Name string
}

// classOf is a word for why something failed, out of a small set: the text of an error may quote what is not ours.
func classOf(err error, known []Class) string {
	if err == nil {
		return ""
	}
	for _, c := range known {
		if errors.Is(err, c.Err) {
			return c.Name
		}
	}
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "no-space"
	case errors.Is(err, fs.ErrPermission):
		return "permission"
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network):
		return "network"
	}
	return "other"
}
