//! What a run will do, in numbers: found from the goal's words by rules, changed by options within stated ranges.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::configuration::Configuration;
use crate::shape::Shape;

/// The choices of a run; each is an option of some step.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The configuration's file.
    pub config: PathBuf,
    /// What stands in it.
    pub shape: Shape,
    /// Corpus: so many megabytes of it; all of it where absent.
    pub sample_mb: Option<u64>,
    /// Training: optimiser steps in all.
    pub steps: u64,
    /// Training: steps of each candidate, the first of the run that it would make.
    pub candidate_steps: u64,
    /// Training: steps between two looks at the validation split, by which candidates are compared.
    pub validate_every: u64,
    /// Training: the candidates' learning rates.
    pub learning_rates: Vec<f64>,
    /// Quantisation: the types to make, in the order of preference for the kernel.
    pub types: Vec<String>,
    /// Quantisation: `plain` or `gptq`.
    pub method: String,
    /// Evaluation: fewer tokens and devices.
    pub quick: bool,
    /// Export: compare ONNX with onnxruntime, which is downloaded.
    pub check_onnx: bool,
}

/// Words of a goal and the configuration that they mean; the first with a word of the goal holds.
const RULES: [(&[&str], &str); 5] = [
    (&["smoke"], "smoke"),
    (&["fast", "decision", "decisions"], "fast"),
    (&["tiny", "10m"], "tiny_10M"),
    (&["small", "50m"], "small_50M"),
    (&["medium", "150m"], "medium_150M"),
];

/// What a goal without any of those words means.
const USUAL: &str = "tiny_10M";

impl Recipe {
    /// The recipe for a goal, and a sentence that says why it is this one. `config` is a file, or the name of one in
    /// `configs`; it takes precedence over the goal's words.
    pub fn for_goal(goal: &str, config: Option<&str>, configs: &Path) -> Result<(Recipe, String)> {
        let lower = goal.to_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
        let found = RULES
            .iter()
            .find_map(|(of, config)| Some((of.iter().find(|word| words.contains(word))?, *config)));
        let (name, why) = match (config, found) {
            (Some(config), _) => {
                (config.to_owned(), format!("the configuration is {config}, as --config says"))
            }
            (None, Some((word, config))) => {
                (config.to_owned(), format!("the configuration is {config}, for the goal says \"{word}\""))
            }
            (None, None) => {
                (USUAL.to_owned(), format!("the configuration is {USUAL}, for the goal names no other"))
            }
        };
        let file = if name.ends_with(".toml") {
            std::path::absolute(&name)?
        } else {
            configs.join(format!("{name}.toml"))
        };
        let advice = "give --config a name in slm/configs or a file";
        let configuration = Configuration::read(&file).with_context(|| advice)?;
        Ok((Recipe::of(configuration, file), why))
    }

    fn of(configuration: Configuration, config: PathBuf) -> Recipe {
        let Configuration { shape, training } = configuration;
        let types: &[&str] =
            if shape.holds_k_quants() { &["q4_0", "q8_0", "q4_k"] } else { &["q4_0", "q8_0"] };
        let smoke = shape.name == "smoke";
        Recipe {
            config,
            sample_mb: smoke.then_some(10),
            steps: training.steps,
            candidate_steps: (training.steps / 10).max(1),
            validate_every: training.validate_every,
            // The configuration's own rate, and one on its safe side.
            learning_rates: vec![training.rate, training.rate / 2.0],
            types: types.iter().map(|name| (*name).to_owned()).collect(),
            method: "gptq".to_owned(),
            quick: smoke,
            check_onnx: true,
            shape,
        }
    }

    /// Where a candidate stops: where it is validated, at `candidate_steps` or soon after.
    pub fn until(&self) -> u64 {
        self.candidate_steps.next_multiple_of(self.validate_every).min(self.steps)
    }

    /// The recipe in sentences.
    pub fn said(&self) -> Vec<String> {
        let corpus =
            self.sample_mb.map_or("the whole corpus".to_owned(), |mb| format!("{mb} MB of the corpus"));
        let rates: Vec<String> = self.learning_rates.iter().map(f64::to_string).collect();
        vec![
            format!("{} parameters, {corpus}", crate::table::grouped(self.shape.parameters())),
            format!(
                "candidates with learning rates {} train {} steps each; the best by validation goes on to {} steps",
                rates.join(" and "),
                self.until(),
                self.steps
            ),
            format!("quantised to {} ({})", self.types.join(", "), self.method),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(goal: &str) -> (String, String) {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let (recipe, why) = Recipe::for_goal(goal, None, &configs).unwrap();
        (recipe.shape.name, why)
    }

    #[test]
    fn the_goals_words_decide_and_it_is_said_why() {
        assert_eq!(of("train a smoke model").0, "smoke");
        assert_eq!(of("a model of 10M parameters").0, "tiny_10M");
        assert_eq!(of("Something FAST, for decisions").0, "fast");
        let (name, why) = of("make it good");
        assert_eq!(name, "tiny_10M");
        assert!(why.contains("names no other"), "{why}");
        // A word is a whole word.
        assert_eq!(of("breakfast").0, "tiny_10M");
    }

    #[test]
    fn candidates_stop_where_they_are_validated() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let recipe = Recipe::for_goal("smoke", None, &configs).unwrap().0;
        let until = |candidate_steps, validate_every| {
            Recipe { candidate_steps, validate_every, steps: 100, ..recipe.clone() }.until()
        };
        assert_eq!((until(10, 10), until(11, 10), until(1, 50), until(90, 60)), (10, 20, 50, 100));
    }

    #[test]
    fn limits_of_the_small_configurations() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let parameters =
            |name: &str| Recipe::for_goal("", Some(name), &configs).unwrap().0.shape.parameters();
        assert!(parameters("smoke") < 1_000_000, "{}", parameters("smoke"));
        assert!(parameters("fast") <= 3_000_000, "{}", parameters("fast"));
        assert!(Recipe::for_goal("", Some("fast"), &configs).unwrap().0.shape.holds_k_quants());
    }

    #[test]
    fn a_missing_configuration_is_named() {
        let error = Recipe::for_goal("", Some("huge"), Path::new("/nowhere")).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("/nowhere/huge.toml") && error.contains("slm/configs"), "{error}");
    }
}
