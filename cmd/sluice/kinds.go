package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sources"
)

// The reference is written out of the doc comments of the configurations:
// docs/sources.md, docs/sinks.md, and the annotated YAML of each kind.
//
//go:generate go test -count=1 -run ^TestReference$ . -update

// annotated holds the annotated YAML of each kind, as reference/NOUN-TYPE.yaml.
//
//go:embed reference/*.yaml
var annotated embed.FS

func sourcesCommand() *cobra.Command {
	return kindsCommand("source", sources.Kinds, "kafka")
}

func sinksCommand() *cobra.Command {
	return kindsCommand("sink", sinks.Kinds, "file")
}

// describedKind is a kind as `-o json` shows it.
type describedKind struct {
	Type        string `json:"type"`
	Delivery    string `json:"delivery"`
	Summary     string `json:"summary"`
	Description string `json:"description,omitempty"`
	Example     string `json:"example,omitempty"`
}

// kindsCommand lists the kinds of one sort, or prints the configuration of one.
func kindsCommand(noun string, kinds func() []component.Info, such string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   noun + "s [TYPE]",
		Short: fmt.Sprintf("List the types of %ss, or print the annotated configuration of one", noun),
		Long: fmt.Sprintf("Without TYPE, the types of %[1]ss that a configuration may name, and what each promises of\n"+
			"a record across a crash. With TYPE, a configuration to start from: an example, and every key\n"+
			"with its meaning, type and default, as YAML: an element of the list `%[1]ss` of a pipeline's\n"+
			"file, indented behind a dash.", noun),
		Example: fmt.Sprintf("  sluice %[1]ss\n  sluice %[1]ss %[2]s > %[2]s.yaml", noun, such),
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, types []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("-o can be text or json, not %q", output)}
			}
			if len(types) == 0 {
				return listKinds(cmd, kinds(), output)
			}
			return printKind(cmd, noun, kinds(), types[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func listKinds(cmd *cobra.Command, kinds []component.Info, output string) error {
	if output == "json" {
		out := make([]describedKind, len(kinds))
		for i, k := range kinds {
			out[i] = describedKind{Type: k.Type, Delivery: k.Delivery, Summary: k.Summary}
		}
		return printJSON(cmd, out)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TYPE\tDELIVERY\tSUMMARY")
	for _, k := range kinds {
		delivery := k.Delivery
		if delivery == "" {
			delivery = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", k.Type, delivery, k.Summary)
	}
	return w.Flush()
}

func printKind(cmd *cobra.Command, noun string, kinds []component.Info, typ, output string) error {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.Type
		if k.Type != typ {
			continue
		}
		if output == "json" {
			return printJSON(cmd, describedKind{Type: k.Type, Delivery: k.Delivery, Summary: k.Summary, Description: k.Description, Example: k.Example})
		}
		text, err := annotated.ReadFile("reference/" + noun + "-" + typ + ".yaml")
		if err != nil {
			return fmt.Errorf("this build has no reference of the %s %s: %w", noun, typ, err)
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	meant := ""
	if nearest := component.Nearest(typ, names); nearest != "" {
		meant = fmt.Sprintf(" (did you mean %q?)", nearest)
	}
	return usageError{fmt.Errorf("there is no %s of type %q%s; known are %s", noun, typ, meant, strings.Join(names, ", "))}
}

func printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
