//! Device identification: what the model knows by heart, and whether it can read a record that it is given.
//!
//! - *by heart*: "PCI device vvvv:dddd is" for devices of the training data. The vendor is right where the answer names it
//!   first, the device where the answer is its sentence to the last character.
//! - *with the record*: the same question below the device's line of `pci.ids`, for devices of the training data and for
//!   devices that no document of the training data names. Right is the whole sentence.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::draw::draw;
use super::share::Share;
use super::writer::{Ask, Writer};
use crate::run_folder::RunFolder;

/// Most tokens of an answer. The longest names have some 60: digits are tokens of their own.
const TOKENS: usize = 80;
/// Wrong answers that the report shows.
const SHOWN: usize = 10;

/// A device with its sentence.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Device {
    id: String,
    vendor: String,
    device: String,
    answer: String,
}

/// `data/devices.json`, as far as it is asked about.
#[derive(Debug, Clone, Deserialize)]
pub struct Devices {
    record_prompt: String,
    well_known: Vec<Device>,
    held_out: Vec<Device>,
}

/// A wrong answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// What was asked.
    pub prompt: String,
    /// What should have followed.
    pub wanted: String,
    /// What did.
    pub got: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// By heart: the vendor is named first.
    pub vendor: Share,
    /// By heart: the whole sentence is right.
    pub device: Share,
    /// With the record of a device of the training data in the prompt.
    pub record: Share,
    /// With the record of a device that was never trained on.
    pub record_held_out: Share,
    /// The first wrong answers by heart.
    pub misses: Vec<Miss>,
    /// The first wrong answers with the record.
    pub record_misses: Vec<Miss>,
}

/// The questions.
pub struct Questions {
    by_heart: Vec<Question>,
    with_record: Vec<Question>,
    with_record_held_out: Vec<Question>,
    /// How often the vendor that is asked for most often would be right, if it were always named.
    pub majority_vendor: Share,
}

struct Question {
    prompt: String,
    vendor: String,
    /// What follows the prompt, without white space around it.
    wanted: String,
}

impl Questions {
    /// Reads `data/devices.json` and draws `count` devices of each kind.
    pub fn read(run: &RunFolder, count: usize, seed: u64) -> Result<Self> {
        let file = run.join("data/devices.json");
        let text = std::fs::read(&file)
            .with_context(|| format!("cannot read {}; `auton data build` makes it", file.display()))?;
        let devices: Devices =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))?;
        Questions::new(&devices, count, seed).with_context(|| file.display().to_string())
    }

    fn new(devices: &Devices, count: usize, seed: u64) -> Result<Self> {
        let well_known = draw(&devices.well_known, count, seed);
        let held_out = draw(&devices.held_out, count, seed);
        let ask = |list: &[Device], form: &str| -> Result<Vec<Question>> {
            list.iter().map(|device| question(device, form)).collect()
        };
        let named = |vendor: &str| well_known.iter().filter(|d| d.vendor == vendor).count();
        let most = well_known.iter().map(|d| named(&d.vendor)).max().unwrap_or(0);
        Ok(Questions {
            by_heart: ask(&well_known, "PCI device {id} is")?,
            with_record: ask(&well_known, &devices.record_prompt)?,
            with_record_held_out: ask(&held_out, &devices.record_prompt)?,
            majority_vendor: Share::new(most, well_known.len()),
        })
    }

    /// Asks `writer` everything.
    pub fn ask(&self, writer: &dyn Writer) -> Result<Found> {
        let by_heart = answers(&self.by_heart, writer, "devices by heart")?;
        let known = answers(&self.with_record, writer, "devices with their record")?;
        let unknown = answers(&self.with_record_held_out, writer, "new devices with their record")?;
        let verdicts = |questions: &[Question], answers: &[String], right: fn(&Question, &str) -> bool| {
            Share::of(questions.iter().zip(answers).map(|(q, a)| right(q, a)))
        };
        let mut record_misses = misses(&self.with_record, &known);
        record_misses.extend(misses(&self.with_record_held_out, &unknown));
        record_misses.truncate(SHOWN);
        Ok(Found {
            vendor: verdicts(&self.by_heart, &by_heart, Question::names_vendor),
            device: verdicts(&self.by_heart, &by_heart, Question::is_answered),
            record: verdicts(&self.with_record, &known, Question::is_answered),
            record_held_out: verdicts(&self.with_record_held_out, &unknown, Question::is_answered),
            misses: misses(&self.by_heart, &by_heart),
            record_misses,
        })
    }
}

fn question(device: &Device, form: &str) -> Result<Question> {
    let Device { id, vendor, device, answer } = device;
    let prompt = form.replace("{id}", id).replace("{vendor}", vendor).replace("{device}", device);
    let asked = format!("PCI device {id} is");
    let wanted = answer
        .strip_prefix(&asked)
        .with_context(|| format!("the answer `{answer}` does not begin with `{asked}`"))?;
    ensure!(prompt.ends_with(&asked), "the prompt `{prompt}` does not end with `{asked}`");
    Ok(Question { prompt, vendor: vendor.clone(), wanted: wanted.trim().to_owned() })
}

impl Question {
    fn is_answered(&self, answer: &str) -> bool {
        answer == self.wanted
    }

    /// Whether the vendor comes first, whatever follows.
    fn names_vendor(&self, answer: &str) -> bool {
        let article = ["the ", "a ", "an "].iter().find_map(|article| answer.strip_prefix(article));
        let rest = article.unwrap_or(answer).strip_prefix(self.vendor.as_str());
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    }
}

fn answers(questions: &[Question], writer: &dyn Writer, label: &'static str) -> Result<Vec<String>> {
    let asks: Vec<Ask> = questions.iter().map(|question| Ask::line(&*question.prompt, TOKENS)).collect();
    Ok(writer.write(&asks, label)?.into_iter().map(|written| written.text).collect())
}

fn misses(questions: &[Question], answers: &[String]) -> Vec<Miss> {
    let wrong = questions.iter().zip(answers).filter(|(question, answer)| !question.is_answered(answer));
    let miss = |(question, got): (&Question, &String)| Miss {
        prompt: question.prompt.clone(),
        wanted: question.wanted.clone(),
        got: got.clone(),
    };
    wrong.take(SHOWN).map(miss).collect()
}

#[cfg(test)]
mod tests {
    use super::super::writer::Written;
    use super::*;

    fn device(id: &str, vendor: &str, name: &str) -> Device {
        let answer = format!("PCI device {id} is the {vendor} {name}.");
        Device { id: id.into(), vendor: vendor.into(), device: name.into(), answer }
    }

    fn devices() -> Devices {
        Devices {
            record_prompt: "{id} {vendor} {device}\nPCI device {id} is".into(),
            well_known: vec![device("8086:10d3", "Intel", "82574L"), device("10de:0001", "NVIDIA", "NV1")],
            held_out: vec![device("1000:0001", "Broadcom / LSI", "53c810")],
        }
    }

    /// Copies what follows the number in the prompt; by heart it always says Intel.
    struct Copier;

    impl Writer for Copier {
        fn write(&self, asks: &[Ask], _: &'static str) -> Result<Vec<Written>> {
            let answer = |ask: &Ask| match ask.prompt.split_once('\n') {
                Some((record, _)) => format!("the {}.", record.split_once(' ').unwrap().1),
                None => "the Intel 82574L.".to_owned(),
            };
            Ok(asks.iter().map(|ask| Written { text: answer(ask), ended: true }).collect())
        }
    }

    #[test]
    fn answers_are_judged() {
        let questions = Questions::new(&devices(), 500, 1).unwrap();
        let found = questions.ask(&Copier).unwrap();
        assert_eq!((found.vendor.right, found.vendor.asked, found.device.right), (1, 2, 1));
        assert_eq!((found.record.right, found.record_held_out.right, found.record_held_out.asked), (2, 1, 1));
        assert_eq!((found.misses.len(), found.record_misses.len()), (1, 0));
        assert_eq!(found.misses[0].wanted, "the NVIDIA NV1.");
        assert_eq!((questions.majority_vendor.right, questions.majority_vendor.asked), (1, 2));
    }

    #[test]
    fn a_vendor_is_a_whole_name_at_the_beginning() {
        let question = question(&device("8086:10d3", "Intel", "82574L"), "PCI device {id} is").unwrap();
        for (answer, right) in [
            ("the Intel 82575", true),
            ("Intel.", true),
            ("the Intelligent X", false),
            ("an AMD of Intel", false),
        ] {
            assert_eq!(question.names_vendor(answer), right, "{answer}");
        }
        assert!(question.is_answered("the Intel 82574L.") && !question.is_answered("the Intel 82574L"));
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let mut wrong = devices();
        wrong.well_known[0].answer = "It is Intel.".into();
        let error = format!("{:#}", Questions::new(&wrong, 5, 1).err().unwrap());
        assert!(error.contains("does not begin with `PCI device 8086:10d3 is`"), "{error}");
        let wrong = Devices { record_prompt: "{id}".into(), ..devices() };
        assert!(Questions::new(&wrong, 5, 1).is_err());
    }
}
