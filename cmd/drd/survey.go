package main

import (
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/survey"
)

// surveyCommand is the child process that reads what lies in a store; see survey.Reader.
const surveyCommand = "survey-file"

func newSurvey(a *app) *cobra.Command {
	return newChild(surveyCommand+" FILE SEED", "read what lies in a store", cobra.ExactArgs(2), a.toStdout(survey.Main))
}
