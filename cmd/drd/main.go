// Command drd is a disaster-recovery daemon for etcd, and the tool that brings a cluster back.
//
// This directory holds the command line: flags, output and exit codes. What the commands do lives
// in the packages under internal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	_ "time/tzdata" // time zones on hosts that have no zone files

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
)

// Exit codes, the same for every command. README.md and other people's scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // wrong flags or configuration
	exitUnhealthy   = 3 // status: something is wrong; verify: something is not proved
	exitNothing     = 4 // nothing to restore, or to try
	exitInterrupted = 130
	exitUnread      = 141 // nobody reads the output; a program that SIGPIPE kills has this code in a shell
)

func main() {
	if os.Getenv("GOGC") == "" {
		// drd runs beside etcd, and its live memory is small buffers: less garbage costs it next to nothing.
		debug.SetGCPercent(50)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program, for main and for tests.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, toTerminal: isTerminal(stdout), errToTerminal: isTerminal(stderr)}
	root := newRoot(a)
	ctx, done := untilAsked(root, args)
	defer done()
	out := &checkedWriter{w: newPatientWriter(ctx, stdout)}
	a.raw, a.out = out, printing{out}
	a.terminal = newPatientWriter(ctx, stderr)
	a.err = printing{a.terminal}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.err
	}
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		err = interrupted{err}
	}
	a.reportError(err)
	return exitCode(err)
}

// interrupted marks what a command said after it was asked to give up.
type interrupted struct{ error }

func (i interrupted) Error() string {
	if errors.Is(i.error, context.Canceled) {
		return "interrupted"
	}
	return "interrupted: " + i.error.Error()
}

func (i interrupted) Unwrap() error { return i.error }

// usageError marks an error that the caller's words caused, not the world.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// exitError carries an exit code of its own.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	var file *config.Error
	var request *restore.RequestError
	var exit exitError
	var signalled interrupted
	switch {
	case errors.As(err, &signalled), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, errNobodyReads):
		return exitUnread
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage), errors.As(err, &file), errors.As(err, &request):
		return exitUsage
	case errors.Is(err, repo.ErrNothing):
		return exitNothing
	}
	return exitFailed
}

// app is what every command shares.
type app struct {
	in io.Reader
	// out and err are for people: what would move the cursor of a terminal is replaced. raw is standard output, for
	// documents and for what is coloured on purpose; terminal is standard error, for progress bars.
	out, err      io.Writer
	raw, terminal io.Writer
	// toTerminal and errToTerminal say of standard output and standard error whether they are terminals.
	toTerminal, errToTerminal bool

	configFile string
	verbose    bool
}

// reportError writes an error as people read it: each problem followed by what to do about it.
func (a *app) reportError(err error) {
	said := make(map[string]bool)
	say := func(hints []string) {
		for _, h := range hints {
			if !said[h] {
				said[h] = true
				fmt.Fprintf(a.err, "drd: hint: %s\n", h)
			}
		}
	}
	for _, problem := range problems(err) {
		if errors.Is(problem, errNobodyReads) {
			continue // as when head has seen enough: nothing is wrong
		}
		for _, line := range strings.Split(strings.TrimRight(problem.Error(), "\n"), "\n") {
			fmt.Fprintf(a.err, "drd: error: %s\n", line)
		}
		say(hint.Of(problem))
	}
	say(hint.Of(err)) // of what joins them
}

// problems are the errors that were joined, as long as nothing was said about them together.
func problems(err error) []error {
	for inner := err; inner != nil && inner.Error() == err.Error(); inner = errors.Unwrap(inner) {
		joined, ok := inner.(interface{ Unwrap() []error }) //nolint:errorlint // looks at this very layer
		if !ok {
			continue
		}
		parts := joined.Unwrap()
		if errors.Join(parts...).Error() != err.Error() {
			break // fmt.Errorf with two errors has words of its own
		}
		var all []error
		for _, e := range parts {
			all = append(all, problems(e)...)
		}
		return all
	}
	return []error{err}
}

const rootLong = `drd takes encrypted, signed snapshots of etcd, brings them to storage that nobody can
rewrite, and brings the cluster back from there.

Exit codes: 0 done, 1 failed, 2 wrong flags or configuration, 3 not healthy (status),
not proved (verify) or a finding open (check --stig), 4 nothing to restore, 130 interrupted,
141 nobody read the output to its end.`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "drd",
		Short:         "disaster recovery for etcd",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			etcd.LogTo(a.logger())
			a.openAudit(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&a.configFile, "config", "/etc/drd/config.yaml", "configuration `file`")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log every step to standard error")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{hint.New(err, "%s --help", cmd.CommandPath())}
	})
	root.AddCommand(
		newDaemon(a), newSnapshot(a), newList(a), newStatus(a), newVerify(a), newRestore(a), newLog(a), newDiff(a), newExtract(a), newUnlock(a), newReport(a), newPrune(a), newCheck(a), newKeygen(a),
		newConfig(a), newDemo(a), newVersion(a), newInspect(a), newSurvey(a), newPast(a), newScratchEtcd(a),
	)
	wrapArgs(root)
	return root
}

// noArguments refuses arguments of a command that has flags only. cobra.NoArgs would call them unknown commands.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, only flags: %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// wrapArgs makes wrong positional arguments a usage error of every command.
func wrapArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
	check := c.Args
	switch {
	case check != nil:
	case c.HasSubCommands():
		check = cobra.NoArgs
	default:
		check = noArguments
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{hint.New(err, "%s --help", cmd.CommandPath())}
		}
		return nil
	}
}
