//! `slm query`: a question and its answer.
//!
//! JSON: `{"question","backend","why","answer","segments":[{"origin","text"}],"prompt_tokens",
//! "record_tokens","reused_tokens","model_tokens","prefill_ms","decode_ms","tokens_per_second"|null,"stop"}`;
//! `backend` is neural or rules, `origin` record or model, `stop` end, max-tokens, context-full,
//! interrupted or no-token.

use super::answer::{Answer, Style, origin_name};
use crate::args::{Args, UsageError};
use crate::commands::{Command, CommandError, Context, JSON, Next, OptionSpec, PLAIN, sampling, value};
use crate::json;
use crate::slm::{SlmBackend, SlmBackendChoice, SlmEvent, SlmRequest, SlmStop, SlmSummary};
use crate::system::Flow;
use crate::units::short_time;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub const QUERY: Command = Command {
    name: "slm query",
    summary: "Ask about a device or a command; the model answers, or the rule engine.",
    usage: "slm query \"QUESTION\" [--max-tokens N] [--backend auto|neural|rules] [--temp T] [--seed S] [--top-k K] [--top-p P] [--repeat-penalty R] [--grammar GBNF] [--verbose] [--json]",
    options: &[
        sampling::MAX_TOKENS,
        value(
            "backend",
            "auto|neural|rules",
            "Who answers; auto: the model if it is loaded, and the rules where a record is the whole answer.",
        ),
        sampling::TEMP,
        sampling::SEED,
        sampling::TOP_K,
        sampling::TOP_P,
        sampling::PENALTY,
        value(
            "grammar",
            "GBNF",
            "Hold the model to a grammar in llama.cpp's notation, such as 'root ::= \"yes\" | \"no\"'.",
        ),
        OptionSpec {
            name: "verbose",
            short: Some('v'),
            value: None,
            summary: "Mark what was looked up and what the model said, and tell who answers and why.",
        },
        JSON,
    ],
    example: "slm query \"PCI device 8086:10d3 is\"",
    // Without quotes the words are the question too.
    operands: (1, usize::MAX),
    run,
    ..PLAIN
};

fn request(args: &Args) -> Result<SlmRequest, UsageError> {
    let question = String::from(args.operands.join(" ").trim());
    if question.is_empty() {
        return Err(UsageError("the question is empty".into()));
    }
    let grammar = args.value("grammar").map(String::from);
    let backend = args.choice("backend", &SlmBackendChoice::ALL, SlmBackendChoice::name)?;
    if grammar.is_some() && backend == Some(SlmBackendChoice::Rules) {
        return Err(UsageError(
            "the rule engine follows no grammar; leave --backend rules or --grammar out".into(),
        ));
    }
    Ok(SlmRequest {
        question,
        max_tokens: sampling::max_tokens(args)?,
        backend: backend.unwrap_or(SlmBackendChoice::Auto),
        sampling: sampling::sampling(args)?,
        grammar,
    })
}

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let request = request(&context.args)?;
    let (json, verbose) = (context.args.flag("json"), context.args.flag("verbose"));
    let style = match (json, verbose) {
        (true, _) => Style::Kept,
        (false, true) => Style::Marked,
        (false, false) => Style::Plain,
    };
    let mut answer = Answer::new(style);
    let mut why = String::new();
    let console = &mut *context.console;
    let result = context.system.slm_query(&request, &mut |event| {
        match event {
            SlmEvent::Answering { backend, why: reason } => {
                why = String::from(reason);
                if style == Style::Marked {
                    let _ = writeln!(console, "{} answers: {reason}", backend.name());
                }
            }
            SlmEvent::Waiting => {}
            SlmEvent::Piece { bytes, origin } => answer.piece(bytes, origin, console),
        }
        if console.interrupted() { Flow::Stop } else { Flow::Continue }
    });
    answer.end(console);
    let summary = result?;
    let text = match style {
        Style::Kept => as_json(&request, &why, &answer, &summary),
        _ => format!("{}\n", summary_line(&summary, &why, verbose)),
    };
    // Printed whole even after a Ctrl-C, which the shell takes note of later.
    let dim = style != Style::Kept && console.size().is_some();
    let (on, off) = if dim { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let _ = write!(console, "{on}{text}{off}");
    match summary.stop {
        SlmStop::Interrupted => Err(CommandError::Interrupted),
        _ => Ok(Next::Prompt),
    }
}

/// `[neural | 38 tokens | 6.1 tokens/s | record 14 + model 24]`
fn summary_line(s: &SlmSummary, why: &str, verbose: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    match s.backend {
        SlmBackend::Rules => parts.push(format!("rules | the rule engine answered: {why}")),
        SlmBackend::Neural => {
            parts.push(format!("neural | {} tokens", s.record_tokens.saturating_add(s.model_tokens)));
            parts.extend(s.tokens_per_second().map(|speed| format!("{speed:.1} tokens/s")));
            if s.record_tokens > 0 {
                parts.push(format!("record {} + model {}", s.record_tokens, s.model_tokens));
            }
            if verbose {
                let (prefill, decode) = (short_time(s.prefill), short_time(s.decode));
                parts.push(format!("prompt {} tokens in {prefill}, answer in {decode}", s.prompt_tokens));
            }
            if s.reused_tokens > 0 {
                let all = s.prompt_tokens.saturating_add(s.record_tokens);
                parts.push(format!("{} of {all} prompt tokens reused", s.reused_tokens));
            }
        }
    }
    match s.stop {
        SlmStop::End => {}
        SlmStop::MaxTokens => parts.push(String::from("stopped at --max-tokens")),
        SlmStop::ContextFull => {
            parts.push(String::from("stopped: the context is full; a shorter question leaves more room"))
        }
        SlmStop::Interrupted => parts.push(String::from("stopped by Ctrl-C")),
        SlmStop::NoToken => {
            parts.push(String::from("stopped unfinished: no token goes on as the grammar asks"))
        }
    }
    format!("[{}]", parts.join(" | "))
}

fn as_json(request: &SlmRequest, why: &str, answer: &Answer, s: &SlmSummary) -> String {
    let whole: String = answer.segments().iter().map(|(_, text)| text.as_str()).collect();
    json::document(|o| {
        o.text("question", &request.question).text("backend", s.backend.name()).text("why", why);
        o.text("answer", &whole).objects("segments", answer.segments(), |o, (origin, text)| {
            o.text("origin", origin_name(*origin)).text("text", text);
        });
        o.number("prompt_tokens", s.prompt_tokens).number("record_tokens", s.record_tokens);
        o.number("reused_tokens", s.reused_tokens);
        o.number("model_tokens", s.model_tokens).decimal("prefill_ms", s.prefill.as_secs_f64() * 1e3);
        o.decimal("decode_ms", s.decode.as_secs_f64() * 1e3);
        o.decimal("tokens_per_second", s.tokens_per_second()).text("stop", s.stop.name());
    })
}
