//! Roles that ask an endpoint: a server in this test speaks the protocol, well and badly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slm::workflow::endpoint::plan;
use slm::workflow::recipe::Recipe;
use slm::workflow::settings::Settings;
use slm::workflow::spending::{Question, Spent};

/// What the server saw: its request's head, and the body.
type Seen = (String, Value);

/// A server that answers one question by `answer`, which writes what it likes.
fn serve(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0);
        }
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap()];
        reader.read_exact(&mut body).unwrap();
        sender.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
        answer(&mut stream);
    });
    (url, receiver)
}

fn reply(stream: &mut TcpStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
}

/// A completion whose text is `text`.
fn completion(text: &str, prompt_tokens: u64, completion_tokens: u64) -> String {
    json!({
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens },
    })
    .to_string()
}

const PLAN: &str = r#"{"steps":[{"step":"training","options":{"steps":60,"candidate_steps":10,"learning_rates":[0.001,0.004]}}]}"#;

fn recipe() -> Recipe {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    Recipe::for_goal("smoke", None, &configs).unwrap().0
}

/// Asks the server at `url` for the trainer's plan, with a bound of `max_tokens`.
fn ask(url: &str, more: &str, max_tokens: u64, asked: &mut Vec<Question>) -> Recipe {
    let text = format!(
        "[endpoint]\nurl = \"{url}\"\nmodel = \"m\"\nroles = [\"trainer\"]\nmax_tokens = {max_tokens}\n\
         price_per_million_prompt_tokens = 1.0\nprice_per_million_completion_tokens = 10.0\ntimeout_s = 2\n{more}"
    );
    let settings = Settings::from_toml(&text).unwrap();
    plan(&settings.endpoint.unwrap(), "a smoke model", recipe(), asked)
}

/// What became of the only question, whose plan must not have been used.
fn refusal(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> Question {
    let (url, _seen) = serve(answer);
    let mut asked = Vec::new();
    let started = Instant::now();
    assert_eq!(ask(&url, "", 20_000, &mut asked), recipe());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let question = asked.pop().unwrap();
    assert!(question.outcome.starts_with("planned by rules, for "), "{}", question.outcome);
    question
}

#[test]
fn a_good_plan_is_used_and_paid() {
    let (url, seen) =
        serve(|stream| reply(stream, "200 OK", &completion(&format!("```json\n{PLAN}\n```"), 400, 50)));
    let mut asked = Vec::new();
    let planned = ask(&url, "", 20_000, &mut asked);
    assert_eq!((planned.steps, planned.learning_rates), (60, vec![0.001, 0.004]));
    assert_eq!((asked[0].prompt_tokens, asked[0].completion_tokens), (400, 50));
    assert!((asked[0].money - 0.0009).abs() < 1e-12, "{}", asked[0].money);
    let (head, body) = seen.recv().unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
    assert_eq!(body["model"], "m");
    let said = body["messages"][0]["content"].as_str().unwrap();
    assert!(said.contains("learning_rates") && !said.contains("sample_mb"), "only its own options: {said}");
}

#[test]
fn answers_that_are_no_plan_change_nothing() {
    let text = |text: &'static str| {
        refusal(move |stream| reply(stream, "200 OK", &completion(text, 10, 10))).outcome
    };
    assert!(text("I would train longer.").contains("is no JSON"));
    assert!(
        text(r#"{"steps":[{"step":"training","options":{"steps":1000000}}]}"#)
            .contains("training.steps = \"1000000\"")
    );
    assert!(
        text(r#"{"steps":[{"step":"shell","options":{"run":"rm -rf /"}}]}"#).contains("no step \"shell\"")
    );
    assert!(
        text(r#"{"steps":[{"step":"evaluation","options":{"quick":true}}]}"#).contains("not the trainer's")
    );
    let body = |body: &'static str| refusal(move |stream| reply(stream, "200 OK", body)).outcome;
    assert!(body("{}").contains("has no text"));
    assert!(body("<html>").contains("is no JSON"));
    let status = refusal(|stream| reply(stream, "429 Too Many Requests", "{}")).outcome;
    assert!(status.contains("429"), "{status}");
}

#[test]
fn a_slow_a_huge_and_an_endless_answer_end() {
    let slow = refusal(|stream| {
        std::thread::sleep(Duration::from_secs(4));
        // Nobody listens any more.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    assert!(slow.outcome.contains("does not answer"), "{}", slow.outcome);
    // What it took is not known: the worst counts.
    assert!(slow.prompt_tokens > 500 && slow.completion_tokens == 500, "{slow:?}");
    let huge = refusal(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4000000000\r\n\r\n");
        while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
    });
    assert!(huge.outcome.contains("cannot be read"), "{}", huge.outcome);
    let trickle = refusal(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(b"1\r\n \r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(trickle.outcome.contains("cannot be read"), "{}", trickle.outcome);
    let silent = refusal(|_| {});
    assert!(silent.outcome.contains("does not answer"), "{}", silent.outcome);
}

#[test]
fn spending_stops_at_its_bound() {
    // The answer says that it took more than there is: it is counted and not used.
    let (url, _seen) = serve(|stream| reply(stream, "200 OK", &completion(PLAN, 19_000, 5_000)));
    let mut asked = Vec::new();
    assert_eq!(ask(&url, "", 20_000, &mut asked), recipe());
    assert!(asked[0].outcome.contains("passes the bound"), "{}", asked[0].outcome);
    assert_eq!(Spent::by(&asked).tokens, 24_000);
    // From then on nothing is sent: no server is there to answer.
    assert_eq!(ask("http://127.0.0.1:9/v1", "", 20_000, &mut asked), recipe());
    assert!(asked[1].outcome.contains("the bound of 20000 tokens is reached"), "{}", asked[1].outcome);
    assert_eq!(Spent::by(&asked).tokens, 24_000);
    let mut asked = Vec::new();
    ask("http://127.0.0.1:9/v1", "max_cost = 0.001", 20_000, &mut asked);
    assert!(asked[0].outcome.contains("of money is reached"), "{}", asked[0].outcome);
    // A lie about the size of an answer cannot overflow the sum.
    let (url, _seen) = serve(|stream| reply(stream, "200 OK", &completion(PLAN, u64::MAX, u64::MAX)));
    let mut asked = Vec::new();
    assert_eq!(ask(&url, "", 20_000, &mut asked), recipe());
    assert_eq!(Spent::by(&asked).tokens, u64::MAX);
}

#[test]
fn nobody_there_costs_nothing() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut asked = Vec::new();
    assert_eq!(ask(&format!("http://{address}/v1"), "", 20_000, &mut asked), recipe());
    assert_eq!((Spent::by(&asked).tokens, asked.len()), (0, 1));
}

#[test]
fn a_key_is_sent_and_written_nowhere() {
    // `PATH` stands in for a key: tests cannot set variables safely.
    let key = std::env::var("PATH").unwrap();
    let (url, seen) = serve(|stream| reply(stream, "401 Unauthorized", "{}"));
    let mut asked = Vec::new();
    ask(&url, "api_key_env = \"PATH\"", 20_000, &mut asked);
    assert!(seen.recv().unwrap().0.contains(&format!("Bearer {key}")));
    assert!(!serde_json::to_string(&asked).unwrap().contains(&key));
    let mut asked = Vec::new();
    ask(&url, "api_key_env = \"AUTON_NO_SUCH_VARIABLE\"", 20_000, &mut asked);
    assert!(asked[0].outcome.contains("AUTON_NO_SUCH_VARIABLE"), "{}", asked[0].outcome);
    assert_eq!(Spent::by(&asked).tokens, 0);
}
