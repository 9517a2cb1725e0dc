package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const program = `#!/bin/sh
case "$*" in
--help) cat <<'END'
Does things - with a \ backslash.
.dots do not begin a macro

  a list
  of two

Usage:
  prog [flags]
  prog [command]

Available Commands:
  help   Help about any command
  sub    do one thing

Flags:
      --name string   name of the node (default "box-1")
                      that goes on
  -h, --help          help for prog

Use "prog [command] --help" for more information about a command.
END
;;
"sub --help") printf 'Does one thing.\n\nUsage:\n  prog sub\n\nExamples:\n  prog sub --now\n\nFlags:\n  -h, --help   help for sub\n' ;;
*) exit 1 ;;
esac
`

const rootPage = `.TH DRD 1
.nh
.SH NAME
drd \- disaster recovery for etcd
.SH SYNOPSIS
.nf
prog [flags]
prog [command]
.fi
.SH DESCRIPTION
.PP
Does things \- with a \e backslash.
\&.dots do not begin a macro
.PP
.nf
  a list
  of two
.fi
.SH AVAILABLE COMMANDS
.TP
.B help
Help about any command
.TP
.B sub
do one thing
.SH FLAGS
.TP
.B \-\-name string
name of the node (default "HOST") that goes on
.TP
.B \-h, \-\-help
help for prog
.SH SEE ALSO
.BR drd (1),
.BR drd\-sub (1)
.PP
https://github.com/drd\-project/drd
`

const subPage = `.TH DRD\-SUB 1
.nh
.SH NAME
drd\-sub \- do one thing
.SH SYNOPSIS
.nf
prog sub
.fi
.SH DESCRIPTION
.PP
Does one thing.
.SH EXAMPLES
.nf
  prog sub \-\-now
.fi
.SH FLAGS
.TP
.B \-h, \-\-help
help for sub
.SH SEE ALSO
.BR drd (1)
.PP
https://github.com/drd\-project/drd
`

func TestPages(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(path, []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := write(path, dir, "box-1", entry{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"drd.1": rootPage, "drd-sub.1": subPage} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestNoHelp(t *testing.T) {
	if err := write("/bin/false", t.TempDir(), "box-1", entry{}); err == nil {
		t.Error("a program that fails has a page")
	}
	if err := write("/bin/echo", t.TempDir(), "box-1", entry{}); err == nil {
		t.Error("a program without usage has a page")
	}
}
