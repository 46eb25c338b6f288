//! The report as text: `eval/report.md`.

use std::fmt::Write;

use super::devices::{self, Miss};
use super::fluency::{self, Figures};
use super::report::{Model, Report};
use super::{commands, perplexity};
use crate::table::{grouped, mib};

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let Report { seed, quick, machine, data, baseline, models, .. } = report;
    writeln!(out, "# Evaluation\n")?;
    writeln!(
        out,
        "Written by `auton eval`; the same files and seed give the same figures, times excepted.\n"
    )?;
    if *quick {
        writeln!(out, "**Quick: only some of the documents and questions.**\n")?;
    }
    writeln!(out, "- machine: {}; {} threads; accelerator none; seed {seed}", machine.cpu, machine.threads)?;
    writeln!(
        out,
        "- data: {} tokens trained on; {} held-out documents; left out: {} that stand there twice, {} that were trained on, {} \
         to be quick",
        grouped(data.train_tokens),
        grouped(data.test_documents),
        data.repeated,
        data.trained_on,
        data.skipped
    )?;
    let order =
        |at: usize| baseline.discounts[at].iter().map(|d| format!("{d:.3}")).collect::<Vec<_>>().join("/");
    writeln!(
        out,
        "- baseline: 3-grams over the same tokens and training data: interpolated modified Kneser-Ney (discounts {}, {}, {} \
         for one to three tokens), and Jelinek-Mercer with weights from {} tokens of the validation split; fitted in {:.1} s",
        order(0),
        order(1),
        order(2),
        grouped(data.valid_tokens),
        baseline.seconds
    )?;
    for model in models {
        one(out, model, report)?;
    }
    Ok(())
}

fn one(out: &mut String, model: &Model, report: &Report) -> std::fmt::Result {
    let (facts, baseline) = (&model.facts, &report.baseline);
    writeln!(out, "\n## {}\n", facts.file)?;
    writeln!(
        out,
        "{}: {} parameters, {}, {}, context {}, vocabulary {}; {:.0} s  \nSHA-256 `{}`",
        facts.name,
        grouped(facts.parameters),
        facts.quantisation,
        mib(facts.bytes),
        facts.context,
        grouped(facts.vocabulary),
        model.seconds,
        facts.sha256
    )?;
    if !model.gates.is_empty() {
        writeln!(out, "\n### Gates\n")?;
        table(out, &["gate", "at least:", "measured:", ""])?;
        for gate in &model.gates {
            let verdict = if gate.passed { "passed" } else { "**failed**" };
            row(
                out,
                [
                    gate.gate.clone(),
                    format!("{:.2}", gate.least),
                    format!("{:.3}", gate.measured),
                    verdict.into(),
                ],
            )?;
        }
    }
    writeln!(out, "\n### Perplexity of held-out documents\n")?;
    writeln!(
        out,
        "Each document from its beginning, every token predicted once, the end included; windows of {} tokens that overlap \
         by half. All three columns are of the very same tokens.\n",
        facts.context
    )?;
    perplexities(out, &model.perplexity)?;

    writeln!(out, "\n### Devices\n")?;
    writeln!(
        out,
        "Share of right answers (right of asked; 95 % interval by Wilson). Greedy, to the end of the line.\n"
    )?;
    let majority = format!(
        " (the vendor asked for most often, always: {:.1} %)",
        100.0 * baseline.majority_vendor.share
    );
    device_table(out, &model.devices, &baseline.devices, &majority)?;
    misses(out, "Wrong by heart, the first", &model.devices.misses)?;
    misses(out, "Wrong with the record, the first", &model.devices.record_misses)?;

    writeln!(out, "\n### Commands\n")?;
    writeln!(out, "A question, and the command of this kernel's shell that answers it.\n")?;
    command_table(out, &model.commands, &baseline.commands)?;
    misses(out, "Wrong, the first", &model.commands.misses)?;

    writeln!(out, "\n### Man pages\n")?;
    fluency_table(
        out,
        [
            ("this model", &model.fluency.figures),
            ("3-gram", &baseline.fluency.figures),
            ("real pages", &baseline.real_pages),
        ],
    )?;
    samples(out, "This model", &model.fluency)?;
    samples(out, "The 3-gram", &baseline.fluency)
}

fn perplexities(out: &mut String, rows: &[perplexity::Row]) -> std::fmt::Result {
    let heading = [
        "source",
        "documents:",
        "tokens:",
        "perplexity:",
        "bits/byte:",
        "Kneser-Ney 3-gram:",
        "Jelinek-Mercer 3-gram:",
        "better 3-gram / model:",
    ];
    table(out, &heading)?;
    for r in rows {
        let name = if r.source == "all" { "**all**".into() } else { r.source.clone() };
        let cells = [
            name,
            grouped(r.documents),
            grouped(r.tokens),
            format!("{:.3}", r.perplexity),
            format!("{:.3}", r.bits_per_byte),
            format!("{:.2}", r.kneser_ney),
            format!("{:.2}", r.jelinek_mercer),
            format!("{:.2}", r.ratio),
        ];
        row(out, cells)?;
    }
    Ok(())
}

fn device_table(
    out: &mut String,
    model: &devices::Found,
    ngram: &devices::Found,
    majority: &str,
) -> std::fmt::Result {
    table(out, &["question", "this model:", "3-gram:"])?;
    row(out, ["by heart: vendor".into(), model.vendor.to_string(), format!("{}{majority}", ngram.vendor)])?;
    row(out, ["by heart: whole sentence".into(), model.device.to_string(), ngram.device.to_string()])?;
    row(
        out,
        ["with the record, well-known device".into(), model.record.to_string(), ngram.record.to_string()],
    )?;
    let [own, theirs] = [model, ngram].map(|found| found.record_held_out.to_string());
    row(out, ["with the record, device never trained on".into(), own, theirs])
}

fn command_table(out: &mut String, model: &commands::Found, ngram: &commands::Found) -> std::fmt::Result {
    table(out, &["questions", "this model:", "3-gram:"])?;
    row(out, ["of the test split".into(), model.held_out.to_string(), ngram.held_out.to_string()])?;
    row(out, ["every command, worded anew".into(), model.new.to_string(), ngram.new.to_string()])
}

fn fluency_table(out: &mut String, rows: [(&str, &Figures); 3]) -> std::fmt::Result {
    let heading = [
        "text",
        "words:",
        "words of the training data:",
        "different 3-word sequences:",
        "repeated 4-word sequences:",
    ];
    table(out, &heading)?;
    for (name, f) in rows {
        let shares =
            [f.known_words, f.distinct_3, f.repeated_4].map(|share| format!("{:.1} %", 100.0 * share));
        row(out, [name.to_owned(), grouped(f.words)].into_iter().chain(shares))?;
    }
    Ok(())
}

fn samples(out: &mut String, title: &str, found: &fluency::Found) -> std::fmt::Result {
    writeln!(
        out,
        "\n{title}, {} tokens each at temperature 0.7 (`▸` ends what was given):\n",
        fluency::TOKENS
    )?;
    for sample in &found.samples {
        // Indented rather than fenced: a sample may hold a fence.
        let text = format!("{}▸{}", sample.prompt, sample.text);
        for line in text.lines() {
            writeln!(out, "{}", format!("    {line}").trim_end())?;
        }
        // Two indented blocks are one unless something stands between them.
        writeln!(out, "\n<!-- -->\n")?;
    }
    Ok(())
}

fn misses(out: &mut String, title: &str, misses: &[Miss]) -> std::fmt::Result {
    if misses.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title} {}:\n", misses.len())?;
    table(out, &["asked", "wanted", "got"])?;
    for miss in misses {
        row(out, [&miss.prompt, &miss.wanted, &miss.got].map(|text| shown(text)))?;
    }
    Ok(())
}

/// A text in a cell.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(160).collect();
    if cut.is_empty() { "(nothing)".into() } else { cut.replace('\n', "↵ ") }
}

/// A heading; a colon at the end aligns the column to the right.
fn table(out: &mut String, heading: &[&str]) -> std::fmt::Result {
    row(out, heading.iter().map(|name| name.trim_end_matches(':').to_owned()))?;
    let line = heading.iter().map(|name| if name.ends_with(':') { "---:" } else { "---" });
    writeln!(out, "|{}|", line.collect::<Vec<_>>().join("|"))
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) -> std::fmt::Result {
    let cells: Vec<String> =
        cells.into_iter().map(|cell| cell.replace('|', "\\|").replace('<', "&lt;")).collect();
    writeln!(out, "| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::a_report;
    use super::*;

    #[test]
    fn the_text_says_what_was_found() {
        let text = report(&a_report());
        for part in [
            "## m.gguf",
            "| **all** | 1 | 3 | 10.000 | 1.000 | 35.00 | 40.00 | 3.50 |",
            "| vendor | 0.90 | 0.950 | passed |",
            "| p\\|q↵ r | w | (nothing) |",
            "    NAME\n     ▸ x - ```y",
            "95.0 % (95 of 100; 88.8–97.8)",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("Quick"));
    }

    #[test]
    fn tables_have_as_many_cells_as_headings() {
        let mut columns = None;
        for line in report(&a_report()).lines() {
            let cells = line.starts_with('|').then(|| line.replace("\\|", "").matches('|').count());
            assert!(cells.is_none() || columns.is_none() || cells == columns, "{line}");
            columns = cells;
        }
    }
}
