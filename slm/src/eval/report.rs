//! The report of an evaluation as data: `eval/report.json`, described by `docs/schemas/eval-report.schema.json`.

use serde::{Deserialize, Serialize};

use super::gates::Verdict;
use super::subject::Facts;
use super::{commands, devices, fluency, perplexity};

/// `schema` of the report.
pub const SCHEMA: &str = "auton.eval";
/// `version` of the report.
pub const VERSION: u32 = 1;

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// [`VERSION`].
    pub version: u32,
    /// Decides which devices are asked for, and the samples.
    pub seed: u64,
    /// Fewer documents and questions than a whole evaluation.
    pub quick: bool,
    /// Where it was measured.
    pub machine: Machine,
    /// What was held out.
    pub data: DataFacts,
    /// What the models are measured against.
    pub baseline: Baseline,
    /// One of each model.
    pub models: Vec<Model>,
}

/// The machine. Only times depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// Threads that shared the work.
    pub threads: u64,
}

/// The data of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Tokens that the model and the 3-grams were fitted on.
    pub train_tokens: u64,
    /// Tokens that the weights of the 3-gram by Jelinek and Mercer were fitted on.
    pub valid_tokens: u64,
    /// Documents that were predicted.
    pub test_documents: u64,
    /// Documents of the test split left out because they stand there twice.
    pub repeated: u64,
    /// Documents of the test split left out because they stand in the training data.
    pub trained_on: u64,
    /// Documents of the test split left out because the evaluation was to be quick.
    pub skipped: u64,
}

/// The 3-grams, and the one by Kneser and Ney at the model's tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// D1, D2 and D3 of orders one to three.
    pub discounts: [[f64; 3]; 3],
    /// Always naming the vendor that is asked for most often.
    pub majority_vendor: super::share::Share,
    /// Devices.
    pub devices: devices::Found,
    /// Commands.
    pub commands: commands::Found,
    /// Samples.
    pub fluency: fluency::Found,
    /// Real pages, measured as the samples are.
    pub real_pages: fluency::Figures,
    /// Seconds that fitting took.
    pub seconds: f64,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Which.
    pub facts: Facts,
    /// By source; the last row is of all documents.
    pub perplexity: Vec<perplexity::Row>,
    /// Devices.
    pub devices: devices::Found,
    /// Commands.
    pub commands: commands::Found,
    /// Samples.
    pub fluency: fluency::Found,
    /// What the gates say.
    pub gates: Vec<Verdict>,
    /// Seconds that its evaluation took.
    pub seconds: f64,
}

impl Machine {
    /// This machine.
    pub fn this(threads: usize) -> Self {
        Machine { cpu: xtask::machine_report::host(), threads: threads as u64 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::share::Share;
    use super::*;
    use devices::Miss;

    /// Made-up figures.
    pub fn a_model() -> Model {
        let miss = Miss { prompt: "p|q\nr".into(), wanted: "w".into(), got: String::new() };
        Model {
            facts: Facts {
                file: "m.gguf".into(),
                sha256: "ab".repeat(32),
                bytes: 7,
                name: "m".into(),
                quantisation: "Q4_0".into(),
                parameters: 9,
                vocabulary: 4096,
                context: 512,
            },
            perplexity: vec![perplexity::Row {
                source: "all".into(),
                documents: 1,
                bytes: 10,
                tokens: 3,
                perplexity: 10.0,
                bits_per_byte: 1.0,
                kneser_ney: 35.0,
                jelinek_mercer: 40.0,
                ratio: 3.5,
            }],
            devices: devices::Found {
                vendor: Share::new(95, 100),
                device: Share::new(60, 100),
                record: Share::new(99, 100),
                record_held_out: Share::new(9, 10),
                misses: vec![miss.clone()],
                record_misses: vec![],
            },
            commands: commands::Found {
                held_out: Share::new(3, 4),
                new: Share::new(0, 0),
                misses: vec![miss],
            },
            fluency: fluency::Found {
                samples: vec![fluency::Sample { prompt: "NAME\n ".into(), text: " x - ```y".into() }],
                figures: fluency::Figures { words: 5, known_words: 1.0, distinct_3: 0.5, repeated_4: 0.1 },
            },
            gates: vec![],
            seconds: 1.0,
        }
    }

    /// A report of made-up figures.
    pub fn a_report() -> Report {
        let mut model = a_model();
        model.gates = super::super::gates::Gates::default_gates().unwrap().judge(&model);
        Report {
            schema: SCHEMA.into(),
            version: VERSION,
            seed: 1,
            quick: false,
            machine: Machine::this(2),
            data: DataFacts {
                train_tokens: 100,
                valid_tokens: 10,
                test_documents: 1,
                repeated: 0,
                trained_on: 0,
                skipped: 0,
            },
            baseline: Baseline {
                discounts: [[0.5, 1.0, 1.5]; 3],
                majority_vendor: Share::new(30, 100),
                devices: model.devices.clone(),
                commands: model.commands.clone(),
                fluency: model.fluency.clone(),
                real_pages: model.fluency.figures.clone(),
                seconds: 0.5,
            },
            models: vec![model],
        }
    }

    #[test]
    fn a_report_keeps_to_its_schema_and_comes_back() {
        let schema = include_str!("../../../docs/schemas/eval-report.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let report = a_report();
        let json = serde_json::to_value(&report).unwrap();
        xtask::schema_check::check(&json, &schema).unwrap();
        assert_eq!(schema["properties"]["version"]["const"], VERSION);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
