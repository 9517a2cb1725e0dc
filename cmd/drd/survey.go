package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/survey"
)

// surveyCommand is the child process that reads what lies in a store; see survey.Reader.
const surveyCommand = "survey-file"

func newSurvey(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    surveyCommand + " FILE SEED",
		Short:  "read what lies in a store (run by drd itself)",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := survey.Main(cmd.Context(), args, a.raw); code != 0 {
				return exitError{errors.New("survey failed"), code}
			}
			return nil
		},
	}
}
