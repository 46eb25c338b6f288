//! `selftest`: the tests that the kernel runs on itself.

use super::{Command, CommandError, Context, Next, Operand, PLAIN};
use crate::system::SelfTestError;
use crate::table::{Align, Table};
use crate::units;
use alloc::format;
use alloc::string::String;

pub const SELFTEST: Command = Command {
    name: "selftest",
    summary: "List the kernel's self tests, or run one (`all`: every one that does not end the machine).",
    usage: "selftest [NAME|all]",
    example: "selftest all",
    operands: (0, 1),
    operand: Operand::SelfTest,
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let tests = context.system.self_tests();
    match context.args.operands.first().cloned() {
        None => {
            let mut table = Table::new(&[("TEST", Align::Left), ("WHAT IT CHECKS", Align::Left)]);
            for test in tests {
                let note = if test.fatal { " (ends the machine)" } else { "" };
                table.row([test.name.into(), format!("{}{note}", test.summary)]);
            }
            context.print(&format!("{table}"))
        }
        Some(name) if name == "all" => {
            let safe: alloc::vec::Vec<_> = tests.iter().filter(|test| !test.fatal).collect();
            let mut failed = 0;
            for test in &safe {
                failed += usize::from(run_one(context, test.name)?.is_err());
            }
            if failed > 0 {
                return Err(CommandError::Failed(format!("{failed} of {} self tests failed", safe.len())));
            }
            context.print(&format!("{} self tests passed\n", safe.len()))
        }
        Some(name) => {
            run_one(context, &name)??;
            Ok(Next::Prompt)
        }
    }
}

/// Outer error: Ctrl-C before the test. Inner: the test's own, printed too if it failed.
fn run_one(context: &mut Context<'_>, name: &str) -> Result<Result<(), SelfTestError>, CommandError> {
    // Said before it runs: the test may be the last thing that this machine does.
    context.print(&format!("selftest {}: running\n", crate::args::brief(name)))?;
    let start = context.system.uptime();
    let result = context.system.run_self_test(name);
    let time = units::short_time(context.system.uptime().saturating_sub(start));
    let (line, result) = match result {
        Ok(detail) => (format!("selftest {name}: passed in {time}: {detail}\n"), Ok(())),
        Err(SelfTestError::Failed(reason)) => {
            (format!("selftest {name}: FAILED in {time}: {reason}\n"), Err(SelfTestError::Failed(reason)))
        }
        Err(unknown) => (String::new(), Err(unknown)),
    };
    // Printed even if Ctrl-C was pressed meanwhile.
    let _ = context.console.write_str(&line);
    Ok(result)
}
