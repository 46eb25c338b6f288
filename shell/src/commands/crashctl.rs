//! `crashctl`: the crash predictor.
//!
//! JSON of `crashctl status`: `{"risk","probability","threshold","seconds_to_oom":{"low","mid","high"}|null,"factors":
//! [{"name","contribution"}],"auto","held_back":{"in_force","waiting"},"total_pages","free_pages":[oldest first],"samples"}`.
//! `crashctl history`:
//! `{"records":[{"raised_s","last_s","probability","seconds_to_oom","lead_s","acted","outcome"}]}`, newest first.
//! `crashctl stats`: `{"true_positives","false_positives","misses","averted","pending","precision","recall",
//! "mean_lead_s","brier","brier_baseline","resolved","samples","mean_us","p50_us","p99_us","slowest_us","guard":{"decisions","actions",
//! "reclaims","compactions","holds","held_s","pages","would_act","cooled","over_budget","invalid","better","worse","watchdog"}}`;
//! null where nothing is known yet. `crashctl tune` and `crashctl auto` print the status. `crashctl record` and `crashctl
//! samples`: `{"recording","missed","ooms_ns","columns":[names],"samples":[[one number for each column]]}`, oldest first;
//! `record` leaves `columns` and `samples` out and adds `"count"`.

use super::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::args::{UsageError, brief};
use crate::json;
use crate::system::CrashState;
use crate::table::{Align, Table};
use crate::units;
use ai_insights::crash_predictor::{Mode, Risk, Sample};
use ai_insights::metrics::Sparkline;
use alloc::format;
use alloc::string::{String, ToString};

pub const STATUS: Command = Command {
    name: "crashctl status",
    summary: "Show the risk that memory runs out, what drives it, and how much time is left.",
    usage: "crashctl status [--json]",
    options: &[JSON],
    example: "crashctl status",
    run: |context| show(context, status_text, status_json),
    ..PLAIN
};

pub const HISTORY: Command = Command {
    name: "crashctl history",
    summary: "Show the last alarms and misses, and what became of them.",
    usage: "crashctl history [N] [--json]",
    options: &[JSON],
    example: "crashctl history 5",
    operands: (0, 1),
    run: history,
    ..PLAIN
};

pub const TUNE: Command = Command {
    name: "crashctl tune",
    summary: "Set the probability from which on there is an alarm and the guard may act.",
    usage: "crashctl tune THRESHOLD [--json]",
    options: &[JSON],
    example: "crashctl tune 0.5",
    operands: (1, 1),
    run: tune,
    ..PLAIN
};

pub const STATS: Command = Command {
    name: "crashctl stats",
    summary: "Show how good the predictions have been, and what the guard did.",
    usage: "crashctl stats [--json]",
    options: &[JSON],
    example: "crashctl stats",
    run: |context| show(context, stats_text, stats_json),
    ..PLAIN
};

pub const AUTO: Command = Command {
    name: "crashctl auto",
    summary: "Let the guard reclaim, compact and hold growth back when the risk is high, or not, or only say when it would.",
    usage: "crashctl auto on|off|dry-run [--json]",
    options: &[JSON],
    example: "crashctl auto dry-run",
    operands: (1, 1),
    run: auto,
    ..PLAIN
};

pub const RECORD: Command = Command {
    name: "crashctl record",
    summary: "Record each sample from now on, with a predictor that starts anew, or stop that.",
    usage: "crashctl record on|off [--json]",
    options: &[JSON],
    example: "crashctl record on",
    operands: (1, 1),
    run: record,
    ..PLAIN
};

pub const SAMPLES: Command = Command {
    name: "crashctl samples",
    summary: "Print the recorded samples, as comma-separated values.",
    usage: "crashctl samples [--json]",
    options: &[JSON],
    example: "crashctl samples",
    run: samples,
    ..PLAIN
};

fn show(
    context: &mut Context<'_>,
    text: fn(&CrashState) -> String,
    json: fn(&CrashState) -> String,
) -> Result<Next, CommandError> {
    let state = context.system.crash_state();
    let text = if context.args.flag("json") { json(&state) } else { text(&state) };
    context.print(&text)
}

fn tune(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let word = context.args.operands.first().map(String::as_str).unwrap_or_default();
    let threshold = word.parse::<f32>().map_err(|_| {
        UsageError(format!("the threshold is a probability such as 0.5, not `{}`", brief(word)))
    })?;
    context.system.crash_tune(threshold).map_err(|error| CommandError::Failed(error.to_string()))?;
    show(context, status_text, status_json)
}

fn auto(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let word = context.args.operands.first().map(String::as_str).unwrap_or_default();
    let modes = [Mode::On, Mode::Off, Mode::DryRun];
    let Some(mode) = modes.into_iter().find(|mode| mode.name() == word) else {
        return Err(
            UsageError(format!("`crashctl auto` takes on, off or dry-run, not `{}`", brief(word))).into()
        );
    };
    context.system.crash_auto(mode);
    show(context, status_text, status_json)
}

fn record(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let word = context.args.operands.first().map(String::as_str).unwrap_or_default();
    let on = match word {
        "on" => true,
        "off" => false,
        _ => {
            return Err(
                UsageError(format!("`crashctl record` takes on or off, not `{}`", brief(word))).into()
            );
        }
    };
    context.system.crash_record(on).map_err(CommandError::Failed)?;
    let recording = context.system.crash_recording();
    if context.args.flag("json") {
        let text = json::document(|o| {
            o.boolean("recording", recording.on).number("missed", recording.missed);
            o.number("count", recording.samples.len() as u64);
            o.numbers("ooms_ns", recording.ooms_ns.iter().copied());
        });
        return context.print(&text);
    }
    context.print(&match on {
        true => String::from("Recording; `crashctl samples` prints what there is.\n"),
        false => format!("{} samples recorded, {} missed.\n", recording.samples.len(), recording.missed),
    })
}

fn samples(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let recording = context.system.crash_recording();
    let rows = recording.samples.iter().map(Sample::row);
    if context.args.flag("json") {
        let text = json::document(|o| {
            o.boolean("recording", recording.on).number("missed", recording.missed);
            o.numbers("ooms_ns", recording.ooms_ns.iter().copied()).texts("columns", Sample::COLUMNS);
            o.rows("samples", rows);
        });
        return context.print(&text);
    }
    if recording.samples.is_empty() {
        return context.print("Nothing is recorded; `crashctl record on` begins.\n");
    }
    context.print(&format!("{}\n", Sample::COLUMNS.join(",")))?;
    for row in rows {
        let cells = row.map(|n| n.to_string());
        context.print(&format!("{}\n", cells.join(",")))?;
    }
    Ok(Next::Prompt)
}

fn risk(state: &CrashState) -> &'static str {
    state.assessment.map_or("UNKNOWN", |assessment| assessment.risk.name())
}

fn status_text(state: &CrashState) -> String {
    let Some(a) = state.assessment else {
        return String::from("No sample has been taken yet.\n");
    };
    let left = match a.seconds_to_oom {
        Some(s) => format!("{:.0} s (8 of 10 times {:.0} to {:.0} s)", s.mid, s.low, s.high),
        None => String::from("nothing falls"),
    };
    let free = state.free_pages.last().copied().unwrap_or(0);
    let megabytes = |pages: u64| units::bytes(pages.saturating_mul(mm::FRAME_SIZE));
    let span = state.free_pages.len() as f64 / 10.0;
    let mut text = format!(
        "Risk           {}\nProbability    {:.1} % in the next 20 s (alarm from {:.0} % on)\nTime to OOM    {left}\n\
         Free memory    {} of {}\nAuto           {}\n",
        risk(state),
        a.probability * 100.0,
        state.threshold * 100.0,
        megabytes(free),
        megabytes(state.total_pages),
        state.mode.name(),
    );
    if state.held.in_force {
        text += &format!("Held back      growth, until memory is back; {} tasks wait\n", state.held.waiting);
    }
    text +=
        &format!("Last {span:4.1} s    {}\n", Sparkline(state.free_pages.iter().map(|&pages| pages as f64)));
    if a.risk > Risk::Normal {
        let mut table = Table::new(&[("FACTOR", Align::Left), ("LOG-ODDS", Align::Right)]);
        for factor in state.factors.iter().filter(|factor| factor.contribution != 0.0) {
            table.row([factor.name.into(), format!("{:+.2}", factor.contribution)]);
        }
        text += &format!("\n{table}");
    }
    text
}

fn status_json(state: &CrashState) -> String {
    json::document(|o| {
        o.text("risk", risk(state));
        o.decimal("probability", state.assessment.map(|a| f64::from(a.probability)));
        o.decimal("threshold", f64::from(state.threshold));
        match state.assessment.and_then(|a| a.seconds_to_oom) {
            Some(s) => o.object("seconds_to_oom", |o| {
                o.decimal("low", f64::from(s.low)).decimal("mid", f64::from(s.mid));
                o.decimal("high", f64::from(s.high));
            }),
            None => o.null("seconds_to_oom"),
        };
        let factors = state.factors.iter().filter(|factor| factor.contribution != 0.0);
        o.objects("factors", factors, |o, factor| {
            o.text("name", factor.name).decimal("contribution", f64::from(factor.contribution));
        });
        o.text("auto", state.mode.name()).object("held_back", |o| {
            o.boolean("in_force", state.held.in_force).number("waiting", state.held.waiting);
        });
        o.number("total_pages", state.total_pages);
        o.numbers("free_pages", state.free_pages.iter().copied()).number("samples", state.samples);
    })
}

fn history(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let wanted = match context.args.operands.first() {
        None => usize::MAX,
        Some(word) => word
            .parse()
            .map_err(|_| UsageError(format!("how many alarms to show is a number, not `{}`", brief(word))))?,
    };
    let state = context.system.crash_state();
    let records = state.history.iter().take(wanted);
    let seconds = |ns: u64| ns as f64 / 1e9;
    if context.args.flag("json") {
        let text = json::document(|o| {
            o.objects("records", records, |o, r| {
                o.decimal("raised_s", seconds(r.raised_ns)).decimal("last_s", seconds(r.last_ns));
                o.decimal("probability", f64::from(r.probability));
                o.decimal("seconds_to_oom", r.seconds_to_oom.map(f64::from));
                o.decimal("lead_s", f64::from(r.lead_s)).boolean("acted", r.acted);
                o.text("outcome", r.outcome.name());
            });
        });
        return context.print(&text);
    }
    let mut table = Table::new(&[
        ("RAISED [s]", Align::Right),
        ("LASTED [s]", Align::Right),
        ("HIGHEST", Align::Right),
        ("EXPECTED IN [s]", Align::Right),
        ("LEAD [s]", Align::Right),
        ("ACTED", Align::Left),
        ("OUTCOME", Align::Left),
    ]);
    for r in records {
        table.row([
            format!("{:.1}", seconds(r.raised_ns)),
            format!("{:.1}", seconds(r.last_ns.saturating_sub(r.raised_ns))),
            format!("{:.0} %", r.probability * 100.0),
            r.seconds_to_oom.map_or_else(|| String::from("-"), |s| format!("{s:.0}")),
            if r.lead_s > 0.0 { format!("{:.1}", r.lead_s) } else { String::from("-") },
            String::from(if r.acted { "yes" } else { "no" }),
            String::from(r.outcome.name()),
        ]);
    }
    if state.history.is_empty() {
        return context.print("No alarm so far.\n");
    }
    context.print(&format!("{table}"))
}

fn stats_text(state: &CrashState) -> String {
    let (s, g) = (&state.score, &state.guard);
    let known = |value: Option<f32>, unit: &str| match value {
        Some(value) => format!("{value:.3}{unit}"),
        None => String::from("not known yet"),
    };
    format!(
        "Alarms         {} right, {} false, {} averted by acting, {} pending; {} crashes missed\n\
         Precision      {}\nRecall         {}\nMean lead      {}\nBrier score    {} (always the base rate: {})\n\
         Samples        {}, {} resolved; mean {}, median {}, 99 of 100 within {}, slowest {}\n\
         Guard          {}; {} decisions, {} reclaims, {} compactions ({} pages); {} waited for the cooldown\n\
         Held back      {} times; tasks waited {:.1} s in all\n\
         Outcomes       {} no worse, {} worse, watchdog {} times; {} would have acted, {} over budget, {} invalid\n",
        s.true_positives,
        s.false_positives,
        s.averted,
        s.pending,
        s.misses,
        known(s.precision, ""),
        known(s.recall, ""),
        known(s.mean_lead_s, " s"),
        known(s.brier, ""),
        known(s.brier_baseline, ""),
        state.samples,
        s.resolved,
        units::short_time(state.mean),
        units::short_time(state.median),
        units::short_time(state.p99),
        units::short_time(state.slowest),
        state.mode.name(),
        g.decisions,
        g.reclaims,
        g.compactions,
        g.pages,
        g.cooled,
        state.held.holds,
        state.held.time.as_secs_f64(),
        g.better,
        g.worse,
        g.watchdog,
        g.would_act,
        g.over_budget,
        g.invalid,
    )
}

fn stats_json(state: &CrashState) -> String {
    let (s, g) = (&state.score, &state.guard);
    json::document(|o| {
        o.number("true_positives", s.true_positives).number("false_positives", s.false_positives);
        o.number("misses", s.misses).number("averted", s.averted).number("pending", s.pending);
        o.decimal("precision", s.precision.map(f64::from)).decimal("recall", s.recall.map(f64::from));
        o.decimal("mean_lead_s", s.mean_lead_s.map(f64::from)).decimal("brier", s.brier.map(f64::from));
        o.decimal("brier_baseline", s.brier_baseline.map(f64::from)).number("resolved", s.resolved);
        o.number("samples", state.samples);
        o.decimal("mean_us", state.mean.as_secs_f64() * 1e6);
        o.decimal("p50_us", state.median.as_secs_f64() * 1e6);
        o.decimal("p99_us", state.p99.as_secs_f64() * 1e6);
        o.decimal("slowest_us", state.slowest.as_secs_f64() * 1e6);
        o.object("guard", |o| {
            o.number("decisions", g.decisions).number("actions", g.actions).number("reclaims", g.reclaims);
            o.number("compactions", g.compactions).number("holds", state.held.holds);
            o.decimal("held_s", state.held.time.as_secs_f64());
            o.number("pages", g.pages).number("would_act", g.would_act);
            o.number("cooled", g.cooled).number("over_budget", g.over_budget).number("invalid", g.invalid);
            o.number("better", g.better).number("worse", g.worse).number("watchdog", g.watchdog);
        });
    })
}
