//! `autoctl`: what the kernel measures about itself, from the metrics registry.

use super::{Command, CommandError, Context, Next, OptionSpec, PLAIN};
use alloc::string::String;

pub const AI_METRICS: Command = Command {
    name: "autoctl ai-metrics",
    summary: "Show the metrics as a table.",
    usage: "autoctl ai-metrics",
    example: "autoctl ai-metrics",
    run: ai_metrics,
    ..PLAIN
};

pub const EXPORT_METRICS: Command = Command {
    name: "autoctl export-metrics",
    summary: "Print the metrics for another program.",
    usage: "autoctl export-metrics [--format json|openmetrics]",
    options: &[OptionSpec {
        name: "format",
        short: None,
        value: Some("json|openmetrics"),
        summary: "The encoding; openmetrics unless given.",
    }],
    example: "autoctl export-metrics --format json",
    run: export_metrics,
    ..PLAIN
};

#[derive(Clone, Copy)]
enum Format {
    Json,
    OpenMetrics,
}

fn ai_metrics(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let mut text = String::new();
    let _ = context.system.metrics().text(&mut text);
    context.print(&text)
}

fn export_metrics(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let name = |format: Format| match format {
        Format::Json => "json",
        Format::OpenMetrics => "openmetrics",
    };
    let format = context.args.choice("format", &[Format::Json, Format::OpenMetrics], name)?;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match format {
        Some(Format::Json) => {
            let uptime = u64::try_from(context.system.uptime().as_nanos()).unwrap_or(u64::MAX);
            context.system.metrics().json(uptime, &mut text).map(|()| text.push('\n'))
        }
        _ => context.system.metrics().openmetrics(&mut text),
    };
    context.print(&text)
}
