//! The options of the steps that a plan may set, and the bounds that it is held to. Whoever plans, a person's command line or
//! an endpoint's model, has these and no others; what is outside is refused by name.

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::recipe::Recipe;
use super::task::Role;

/// An option of a step.
pub struct Choice {
    /// The step.
    pub step: &'static str,
    /// Who answers for it.
    pub role: Role,
    /// Its name.
    pub option: &'static str,
    /// What is allowed, in words.
    pub allowed: &'static str,
    get: fn(&Recipe) -> Value,
    set: fn(&mut Recipe, &Value) -> Option<()>,
}

/// All options.
pub const CHOICES: [Choice; 7] = [
    Choice {
        step: "data",
        role: Role::DataScientist,
        option: "sample_mb",
        allowed: "a whole number of megabytes from 2 to 64, or null for the whole corpus",
        get: |recipe| json!(recipe.sample_mb),
        set: |recipe, value| {
            recipe.sample_mb = if value.is_null() { None } else { Some(whole(value, 2, 64)?) };
            Some(())
        },
    },
    Choice {
        step: "training",
        role: Role::Trainer,
        option: "steps",
        allowed: "a whole number from 20 to 20000",
        get: |recipe| json!(recipe.steps),
        set: |recipe, value| {
            recipe.steps = whole(value, 20, 20_000)?;
            Some(())
        },
    },
    Choice {
        step: "training",
        role: Role::Trainer,
        option: "candidate_steps",
        allowed: "a whole number from 5 to 1000",
        get: |recipe| json!(recipe.candidate_steps),
        set: |recipe, value| {
            recipe.candidate_steps = whole(value, 5, 1_000)?;
            Some(())
        },
    },
    Choice {
        step: "training",
        role: Role::Trainer,
        option: "learning_rates",
        allowed: "2 to 4 different numbers from 0.00001 to 0.02, one for each candidate",
        get: |recipe| json!(recipe.learning_rates),
        set: |recipe, value| {
            let rates: Vec<f64> = value.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
            let fine = rates.iter().all(|rate| (1e-5..=2e-2).contains(rate));
            let different = (1..rates.len()).all(|i| !rates[..i].contains(&rates[i]));
            recipe.learning_rates = (fine && different && (2..=4).contains(&rates.len())).then_some(rates)?;
            Some(())
        },
    },
    Choice {
        step: "evaluation",
        role: Role::Evaluator,
        option: "quick",
        allowed: "true or false",
        get: |recipe| json!(recipe.quick),
        set: |recipe, value| {
            recipe.quick = value.as_bool()?;
            Some(())
        },
    },
    Choice {
        step: "quantisation",
        role: Role::Architect,
        option: "types",
        allowed: "1 to 3 different ones of \"q4_0\", \"q8_0\", \"q4_k\" (q4_k only where every width is a multiple of 256)",
        get: |recipe| json!(recipe.types),
        set: |recipe, value| {
            let known: &[&str] =
                if recipe.shape.holds_k_quants() { &["q4_0", "q8_0", "q4_k"] } else { &["q4_0", "q8_0"] };
            let types: Vec<&str> = value.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
            let different = (1..types.len()).all(|i| !types[..i].contains(&types[i]));
            let fine = !types.is_empty() && different && types.iter().all(|name| known.contains(name));
            recipe.types = fine.then(|| types.into_iter().map(str::to_owned).collect())?;
            Some(())
        },
    },
    Choice {
        step: "quantisation",
        role: Role::Architect,
        option: "method",
        allowed: "\"plain\" or \"gptq\"",
        get: |recipe| json!(recipe.method),
        set: |recipe, value| {
            recipe.method = value.as_str().filter(|name| ["plain", "gptq"].contains(name))?.to_owned();
            Some(())
        },
    },
];

fn whole(value: &Value, least: u64, most: u64) -> Option<u64> {
    value.as_u64().filter(|number| (least..=most).contains(number))
}

/// The options of `role` with their present values and bounds, as JSON that a model can read.
pub fn described(role: Role, recipe: &Recipe) -> Value {
    let own = CHOICES.iter().filter(|choice| choice.role == role);
    Value::from_iter(own.map(|choice| {
        json!({ "step": choice.step, "option": choice.option, "now": (choice.get)(recipe), "allowed": choice.allowed })
    }))
}

/// The recipe that a plan makes of `recipe`: `{"steps": [{"step": …, "options": {…}}, …]}`, where only options of `role` may
/// stand. Nothing of a plan is used unless all of it is allowed.
pub fn apply(role: Role, plan: &Value, recipe: &Recipe) -> Result<Recipe> {
    let mut changed = recipe.clone();
    let Some(plan) = plan.as_object() else { bail!("the plan is no JSON object") };
    only(plan, &["steps"], "the plan")?;
    let Some(steps) = plan.get("steps").and_then(Value::as_array) else {
        bail!("the plan has no list \"steps\"")
    };
    for step in steps {
        let Some(step) = step.as_object() else { bail!("a step of the plan is no JSON object") };
        only(step, &["step", "options"], "a step")?;
        let Some(name) = step.get("step").and_then(Value::as_str) else {
            bail!("a step of the plan has no name")
        };
        ensure!(CHOICES.iter().any(|choice| choice.step == name), "there is no step {}", quoted(name));
        let none = Map::new();
        let options = match step.get("options") {
            None => &none,
            Some(options) => match options.as_object() {
                Some(options) => options,
                None => bail!("the options of {name} are no JSON object"),
            },
        };
        for (option, value) in options {
            let choice = CHOICES.iter().find(|choice| choice.step == name && choice.option == option);
            let Some(choice) = choice else { bail!("{name} has no option {}", quoted(option)) };
            ensure!(choice.role == role, "{name}.{option} is not the {}'s to decide", role.name());
            if (choice.set)(&mut changed, value).is_none() {
                bail!(
                    "{name}.{option} = {} is not allowed: give {}",
                    quoted(&value.to_string()),
                    choice.allowed
                );
            }
        }
    }
    ensure!(
        changed.candidate_steps <= changed.steps,
        "training.candidate_steps = {} is more than training.steps = {}",
        changed.candidate_steps,
        changed.steps
    );
    Ok(changed)
}

fn only(object: &Map<String, Value>, known: &[&str], what: &str) -> Result<()> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => bail!("{what} has an entry {}, which means nothing here", quoted(key)),
        None => Ok(()),
    }
}

/// A stranger's text for a sentence: short, and without characters that could play tricks on a terminal.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn recipe() -> Recipe {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        Recipe::for_goal("smoke", None, &configs).unwrap().0
    }

    #[test]
    fn every_options_present_value_is_allowed_and_described() {
        let recipe = recipe();
        for choice in &CHOICES {
            let mut same = recipe.clone();
            assert_eq!((choice.set)(&mut same, &(choice.get)(&recipe)), Some(()), "{}", choice.option);
            assert_eq!(same, recipe);
        }
        let described = described(Role::Trainer, &recipe);
        assert_eq!(described.as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_good_plan_changes_what_it_names() {
        let plan = json!({ "steps": [
            { "step": "training", "options": { "steps": 50, "candidate_steps": 10, "learning_rates": [0.001, 0.002] } },
            { "step": "data" },
        ] });
        let changed = apply(Role::Trainer, &plan, &recipe()).unwrap();
        assert_eq!((changed.steps, changed.candidate_steps), (50, 10));
        assert_eq!(changed.learning_rates, [0.001, 0.002]);
        assert_eq!(changed.types, recipe().types);
    }

    #[test]
    fn what_is_outside_is_refused_by_name() {
        let fault = |role, plan: Value| apply(role, &plan, &recipe()).unwrap_err().to_string();
        let options = |step: &str, options: Value| json!({ "steps": [{ "step": step, "options": options }] });
        let train = |value: Value| fault(Role::Trainer, options("training", value));
        assert!(train(json!({ "steps": 1_000_000 })).contains("training.steps"));
        assert!(train(json!({ "steps": "many" })).contains("training.steps"));
        assert!(train(json!({ "learning_rates": [1e-3] })).contains("learning_rates"));
        assert!(train(json!({ "learning_rates": [1e-3, 1e-3] })).contains("learning_rates"));
        assert!(train(json!({ "candidate_steps": 900 })).contains("is more than training.steps"));
        assert!(train(json!({ "gate": "off" })).contains("no option \"gate\""));
        assert!(
            fault(Role::Trainer, options("evaluation", json!({ "quick": true })))
                .contains("not the trainer's")
        );
        assert!(fault(Role::Trainer, options("rm -rf", json!({}))).contains("no step \"rm -rf\""));
        assert!(fault(Role::Trainer, json!({ "steps": [], "shell": "x" })).contains("\"shell\""));
        assert!(fault(Role::Trainer, json!([])).contains("no JSON object"));
        // The smoke model's widths are no multiples of 256.
        assert!(
            fault(Role::Architect, options("quantisation", json!({ "types": ["q4_k"] }))).contains("types")
        );
        let long = "x".repeat(10_000) + "\u{1b}[2J";
        let refusal = fault(Role::Trainer, options(&long, json!({})));
        assert!(refusal.len() < 200 && !refusal.contains('\u{1b}'), "{refusal}");
    }
}
