//! A role asks an endpoint for a plan: one request, bounded in time, size, tokens and money. Whatever goes wrong, the plan
//! by rules stands, and it is said why.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use ureq::http::StatusCode;

use super::options;
use super::recipe::Recipe;
use super::settings::Endpoint;
use super::spending::{Question, Spent};
use super::task::Role;

/// The largest answer that is read, in bytes.
const LARGEST: u64 = 256 << 10;
/// Tokens of an answer; a plan is short.
const ANSWER_TOKENS: u64 = 500;
/// A bound for the tokens of `n` bytes of question: no tokenizer makes more than one of a byte.
fn most_tokens(bytes: usize) -> u64 {
    bytes as u64
}

/// Lets every role that may ask plan its options; the recipe that results. `asked` has what earlier runs have asked, and gets
/// the new questions.
pub fn plan(endpoint: &Endpoint, goal: &str, recipe: Recipe, asked: &mut Vec<Question>) -> Recipe {
    let mut recipe = recipe;
    for role in Role::ALL.into_iter().filter(|role| endpoint.roles.contains(role)) {
        let mut question = Question { role, ..Question::default() };
        let spent = Spent::by(asked);
        question.outcome = match ask(endpoint, goal, role, &recipe, spent, &mut question) {
            Ok((plan, planned)) => {
                recipe = planned;
                question.plan = Some(plan);
                "its plan is used".to_owned()
            }
            Err(error) => format!("planned by rules, for {error:#}"),
        };
        asked.push(question);
    }
    recipe
}

fn ask(
    endpoint: &Endpoint,
    goal: &str,
    role: Role,
    recipe: &Recipe,
    spent: Spent,
    question: &mut Question,
) -> Result<(Value, Recipe)> {
    let options = options::described(role, recipe);
    ensure!(options.as_array().is_some_and(|list| !list.is_empty()), "this role has nothing to choose");
    let messages = json!([
        { "role": "system", "content": format!(
            "You are the {} of a pipeline that trains small language models. You may set the options below, within what is \
             allowed. Answer with JSON only: {{\"steps\": [{{\"step\": \"name\", \"options\": {{\"option\": value}}}}]}}. Leave \
             out what should stay as it is.\n{options}", role.name()) },
        { "role": "user", "content": format!("The goal: {goal}\nThe model: {} parameters, context {}.",
            recipe.shape.parameters(), recipe.shape.context) },
    ]);
    let body = json!({
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "stream": false,
    })
    .to_string();

    // The worst that this question can cost must be within the bounds.
    let worst_tokens = most_tokens(body.len()) + ANSWER_TOKENS;
    let worst_money = endpoint.cost(most_tokens(body.len()), ANSWER_TOKENS);
    ensure!(
        spent.tokens.saturating_add(worst_tokens) <= endpoint.max_tokens,
        "the bound of {} tokens is reached ({} are spent, this question may take {worst_tokens})",
        endpoint.max_tokens,
        spent.tokens
    );
    ensure!(
        spent.money + worst_money <= endpoint.max_cost,
        "the bound of {} of money is reached ({:.4} is spent, this question may take {worst_money:.4})",
        endpoint.max_cost,
        spent.money
    );

    let key = key(endpoint)?;
    let sent = send(endpoint, key.as_deref(), &body);
    let usage = match &sent {
        Err(Failure { reached: false, .. }) => Some((0, 0)),
        Err(_) => None,
        Ok(reply) => tokens(reply, "prompt_tokens").zip(tokens(reply, "completion_tokens")),
    };
    // It may have to be paid even if it did not say what it took: then the worst is taken for true.
    (question.prompt_tokens, question.completion_tokens) =
        usage.unwrap_or((most_tokens(body.len()), ANSWER_TOKENS));
    question.money = endpoint.cost(question.prompt_tokens, question.completion_tokens);
    let reply = sent.map_err(|failure| failure.why)?;
    let counted = question.prompt_tokens.saturating_add(question.completion_tokens);
    ensure!(
        spent.tokens.saturating_add(counted) <= endpoint.max_tokens
            && spent.money + question.money <= endpoint.max_cost,
        "the answer took {counted} tokens, which passes the bound"
    );
    let text =
        reply["choices"][0]["message"]["content"].as_str().context("the endpoint's answer has no text")?;
    let plan: Value =
        serde_json::from_str(without_fence(text)).context("the endpoint's answer is no JSON")?;
    let planned = options::apply(role, &plan, recipe).context("the endpoint's plan was refused")?;
    Ok((plan, planned))
}

fn tokens(reply: &Value, key: &str) -> Option<u64> {
    reply["usage"][key].as_u64()
}

/// A JSON document that was put into a code block, as models like to do.
fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inside.and_then(|text| text.strip_suffix("```")).unwrap_or(text).trim()
}

/// The key that the server wants to see, if any.
fn key(endpoint: &Endpoint) -> Result<Option<String>> {
    let Some(name) = &endpoint.api_key_env else { return Ok(None) };
    let key = std::env::var(name).ok().filter(|key| !key.is_empty());
    let absent = || format!("the environment variable {name}, which endpoint.api_key_env names, is not set");
    key.with_context(absent).map(Some)
}

/// A question without an answer.
struct Failure {
    /// Whether the server may have got the question.
    reached: bool,
    why: anyhow::Error,
}

fn send(endpoint: &Endpoint, key: Option<&str>, body: &str) -> Result<Value, Failure> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(endpoint.timeout()))
        .timeout_connect(Some(endpoint.timeout().min(Duration::from_secs(10))))
        // Statuses are told apart below; a key is not carried to another server.
        .http_status_as_error(false)
        .max_redirects(0);
    let url = format!("{}/chat/completions", endpoint.url.trim_end_matches('/'));
    let agent = ureq::Agent::new_with_config(config.build());
    let mut request = agent.post(&url).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let response = request.send(body).map_err(|error| Failure {
        reached: !never_reached(&error),
        why: anyhow::Error::new(error).context(format!("{url} does not answer")),
    })?;
    read(response)
        .map_err(|error| Failure { reached: true, why: error.context(format!("the answer of {url}")) })
}

fn never_reached(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Value> {
    let status = response.status();
    ensure!(status == StatusCode::OK, "has status {status}");
    let text = response.body_mut().with_config().limit(LARGEST).read_to_string().context("cannot be read")?;
    serde_json::from_str(&text).context("is no JSON")
}
