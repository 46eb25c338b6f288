//! The test that a model passes or not: read, copied into the kernel's build, built, booted, loaded, asked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask::guest::Guest;
use xtask::kernel_image::{self, Variant};
use xtask::model::ModelChoice;
use xtask::model::integrated::Integrated;
use xtask::model::manifest::Manifest;
use xtask::qemu;

use super::candidates::Candidate;
use super::host::{Answer, Host};
use super::report::{Attempt, Compared, Failure, Phase};

const BOOT: Duration = Duration::from_secs(180);
const ANSWER: Duration = Duration::from_secs(400);
const COMMAND: Duration = Duration::from_secs(60);

/// Tokens that each question is answered with.
pub const TOKENS: usize = 10;
/// What the kernel's `selftest golden` continues, by the name of its line.
const GOLDEN: [(&str, &str); 2] =
    [("g1_raw_pci", "PCI device 8086:10d3 is"), ("g3_raw_france", "The capital of France is")];
/// Tokens of each of those.
const GOLDEN_TOKENS: usize = 32;

/// The machine that the kernel boots on.
#[derive(Debug, Clone)]
pub struct Machine {
    /// As QEMU takes it, such as `1G`.
    pub memory: String,
    /// CPUs.
    pub cpus: u32,
}

/// How a candidate is tested.
pub struct Trial<'a> {
    /// Where its copy goes.
    pub store: &'a Integrated,
    /// The machine.
    pub machine: Machine,
    /// What it is asked.
    pub prompts: Vec<String>,
    /// What is right.
    pub host: &'a Host,
}

impl Trial<'_> {
    /// Refuses questions that cannot be typed between quotes.
    pub fn check_prompts(&self) -> Result<()> {
        for prompt in &self.prompts {
            let fits = (1..=200).contains(&prompt.len()) && prompt.trim() == prompt;
            let typed = prompt.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\'".contains(&byte));
            ensure!(
                fits && typed,
                "the question {prompt:?} cannot be typed into the kernel's shell: use 1 to 200 ASCII characters \
                 without quotes, backslashes, or white space at its ends"
            );
        }
        Ok(())
    }

    /// Tests a candidate.
    pub fn run(&mut self, candidate: &Candidate) -> Attempt {
        let mut attempt = Attempt::of(candidate);
        let mut phase = Phase::Read;
        let result = match &candidate.file {
            Some(file) => self.model(file, &mut attempt, &mut phase),
            None => self.rules(&mut attempt, &mut phase),
        };
        attempt.failure = result.err().map(|error| Failure { phase, reason: format!("{error:#}") });
        attempt
    }

    fn model(&self, file: &Path, attempt: &mut Attempt, phase: &mut Phase) -> Result<()> {
        let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        attempt.bytes = bytes.len() as u64;
        *phase = Phase::Size;
        self.fits(bytes.len() as u64)?;
        *phase = Phase::Read;
        let manifest = Manifest::of_file(file)?;
        let golden = GOLDEN.map(|(_, text)| (text, GOLDEN_TOKENS));
        let asked: Vec<(&str, usize)> =
            golden.into_iter().chain(self.prompts.iter().map(|prompt| (prompt.as_str(), TOKENS))).collect();
        let expected = (self.host)(&bytes, &asked)?;
        drop(bytes);

        *phase = Phase::Build;
        let place = self.store.add(file)?;
        attempt.place = Some(place.clone());
        attempt.sha256 = Some(manifest.sha256.clone());
        attempt.quantisation = Some(manifest.quantisation.clone());
        let variant = Variant { model: ModelChoice::Folder(place), ..Variant::without_model() };
        let mut guest = self.boot(&variant, attempt, phase)?;

        *phase = Phase::Load;
        let status = guest.json("slm status --json", COMMAND)?;
        let log = guest.command("dmesg", COMMAND)?;
        ensure!(status["state"] == "loaded", "the kernel did not load it: {}", why_not_loaded(&log));
        let sha256 = status["model"]["sha256"].as_str().unwrap_or("none");
        ensure!(sha256 == manifest.sha256, "the kernel has another model, with SHA-256 {sha256}");
        attempt.load_ms = load_ms(&log);

        *phase = Phase::Tokens;
        self.golden(&mut guest, &expected[..GOLDEN.len()])?;
        for (prompt, expected) in self.prompts.iter().zip(&expected[GOLDEN.len()..]) {
            attempt.prompts.push(ask(&mut guest, prompt, expected)?);
        }
        attempt.ten_tokens_ms =
            attempt.prompts.iter().filter(|asked| asked.tokens == TOKENS).map(|asked| asked.total_ms).next();
        for asked in &attempt.prompts {
            ensure!(
                asked.same,
                "asked {:?}, the kernel says {:?}, the host {:?}",
                asked.prompt,
                asked.kernel,
                asked.host
            );
        }
        power_off(guest)
    }

    /// The kernel without a model: its rules name a device.
    fn rules(&self, attempt: &mut Attempt, phase: &mut Phase) -> Result<()> {
        *phase = Phase::Build;
        let mut guest = self.boot(&Variant::without_model(), attempt, phase)?;
        *phase = Phase::Tokens;
        let reply = guest.json("slm query \"PCI device 8086:10d3 is\" --json", COMMAND)?;
        let answer = reply["answer"].as_str().unwrap_or_default();
        ensure!(reply["backend"] == "rules" && answer.contains("82574L"), "the rule engine answers {reply}");
        power_off(guest)
    }

    /// A file takes its size in the kernel's image, and may be packed anew in memory: half of the machine's is the bound.
    fn fits(&self, bytes: u64) -> Result<()> {
        let memory = self.machine.bytes()?;
        ensure!(
            bytes <= memory / 2,
            "{bytes} bytes are too large for a machine with {} of memory; give it more by --memory",
            self.machine.memory
        );
        Ok(())
    }

    fn boot(&self, variant: &Variant, attempt: &mut Attempt, phase: &mut Phase) -> Result<Guest> {
        let kernel = kernel_image::build(variant)?;
        *phase = Phase::Boot;
        let usual = qemu::Machine::boot_kernel(&kernel);
        let machine = qemu::Machine { memory: self.machine.memory.clone(), cpus: self.machine.cpus, ..usual };
        let mut guest = Guest::start_alone(&machine)?;
        guest.wait_for_prompt(BOOT)?;
        attempt.boot_s = Some(guest.age().as_secs_f64());
        Ok(guest)
    }

    fn golden(&self, guest: &mut Guest, expected: &[Answer]) -> Result<()> {
        let output = guest.command("selftest golden", ANSWER)?;
        for ((name, text), expected) in GOLDEN.iter().zip(expected) {
            let line = output.lines().find_map(|line| line.strip_prefix(&format!("golden {name}")));
            let line =
                line.with_context(|| format!("`selftest golden` printed no {name}, but:\n{output}"))?;
            let ids = line.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>();
            let ids = ids.with_context(|| format!("`selftest golden` printed {line:?}"))?;
            ensure!(
                ids == expected.tokens,
                "continuing {text:?}, the kernel gives the tokens {ids:?}, the host {:?}",
                expected.tokens
            );
        }
        Ok(())
    }
}

impl Machine {
    /// Its memory in bytes.
    fn bytes(&self) -> Result<u64> {
        let (digits, unit) = self.memory.split_at(self.memory.trim_end_matches(char::is_alphabetic).len());
        let shift = match unit {
            "G" => 30,
            "" | "M" => 20,
            _ => bail!("the memory {} is none, such as 512M or 1G", self.memory),
        };
        let number: u64 = digits.parse().with_context(|| format!("the memory {} is none", self.memory))?;
        number.checked_mul(1 << shift).context("so much memory there is not")
    }
}

/// Asks one question in the shell.
fn ask(guest: &mut Guest, prompt: &str, expected: &Answer) -> Result<Compared> {
    let line =
        format!("llminfer \"{prompt}\" --raw --max-tokens {TOKENS} --temp 0 --repeat-penalty 1 --json");
    let reply = guest.json(&line, ANSWER)?;
    ensure!(reply["error"].is_null(), "asked {prompt:?}, the kernel fails: {}", reply["error"]);
    let answer = reply["answer"].as_str().context("an answer without text")?.to_owned();
    let number = |key: &str| reply[key].as_f64().with_context(|| format!("an answer without {key}: {reply}"));
    let tokens = number("tokens")? as usize;
    Ok(Compared {
        prompt: prompt.to_owned(),
        same: answer == expected.text && tokens == expected.tokens.len(),
        kernel: answer,
        host: expected.text.clone(),
        tokens,
        total_ms: number("total_ns")? / 1e6,
    })
}

fn power_off(mut guest: Guest) -> Result<()> {
    guest.type_line("poweroff")?;
    let exit = guest.wait_for_exit(COMMAND)?;
    ensure!(exit.powered_off(), "{exit}");
    Ok(())
}

/// The kernel's own sentence about a model that it did not load.
fn why_not_loaded(log: &str) -> String {
    let line = log.lines().rev().find(|line| line.contains("SLM: ") && !line.contains("rule engine"));
    line.map_or("it does not say why".to_owned(), |line| line.trim().to_owned())
}

/// Milliseconds from the first to the last of the kernel's notes about loading the model.
fn load_ms(log: &str) -> Option<f64> {
    let time = |what: &str| {
        let line = log.lines().find(|line| line.contains(what))?;
        line.trim_start().strip_prefix('[')?.split(']').next()?.trim().parse::<f64>().ok()
    };
    Some((time("SLM: Neural backend ready")? - time("SLM: Loading")?) * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_notes_are_understood() {
        let log = "[    0.127550] info  SLM: Loading embedded neural model (98362432 bytes)...\n\
                   [    0.329752] info  SLM: Neural backend ready (vocab=49152, ctx=8192)\n";
        assert!((load_ms(log).unwrap() - 202.202).abs() < 1e-6);
        assert_eq!(load_ms("[    0.1] info  Init\n"), None);
        let bad =
            "[ 0.1] warn  SLM: the model cannot be loaded: bad\n[ 0.2] info  SLM: using the rule engine\n";
        assert!(why_not_loaded(bad).ends_with("bad"));
    }

    #[test]
    fn memory_is_read_as_qemu_reads_it() {
        let bytes = |text: &str| Machine { memory: text.into(), cpus: 1 }.bytes();
        assert_eq!(bytes("1G").unwrap(), 1 << 30);
        assert_eq!(bytes("512M").unwrap(), 512 << 20);
        assert_eq!(bytes("256").unwrap(), 256 << 20);
        assert!(bytes("lots").is_err() && bytes("1T").is_err() && bytes("99999999999999G").is_err());
    }

    #[test]
    fn questions_that_cannot_be_typed_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Integrated::at(folder.path()).unwrap();
        let fine = |prompt: &str| {
            let machine = Machine { memory: "1G".into(), cpus: 1 };
            let host: &Host = &|_, _| Ok(Vec::new());
            Trial { store: &store, machine, prompts: vec![prompt.into()], host }.check_prompts().is_ok()
        };
        assert!(fine("What is it?"));
        for bad in ["", "a \"quote\"", "new\nline", " space", "naïve"] {
            assert!(!fine(bad), "{bad:?}");
        }
        assert!(super::super::PROMPTS.iter().all(|prompt| fine(prompt)));
    }
}
