//! rt-app's workload descriptions: threads that run, sleep, wait for each other and for timers.
//!
//! The files are not quite JSON: keys repeat and their order counts, commas trail, and `suspend` may stand without a value; so they are
//! read by a small parser of their own. Of the language, what the descriptions use is understood: `run`, `sleep`, `timer`, `suspend`,
//! `resume`, `wait`, `signal`, `sync`, `loop`, `phases`, `priority` (a nice value). Locks are left out: one CPU, and nothing runs between
//! a signal and the wait that follows it. As with rt-app's condition variables, a wake-up that nobody waits for is lost.

use super::Trace;
use anyhow::{Result, bail};
use sched::simulator::{EventId, Program, Step, Workload};
use sched::{Nanos, Nice, Origin, key};
use std::collections::BTreeMap;

/// Longer descriptions are cut to this: 30 s.
const LONGEST: Nanos = 30_000_000_000;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Object(Vec<(String, Value)>),
    Text(String),
    Number(f64),
    /// `true`, `null`, a list, or nothing at all.
    Other,
}

impl Value {
    fn get(&self, name: &str) -> Option<&Value> {
        self.members().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn members(&self) -> &[(String, Value)] {
        if let Value::Object(members) = self { members } else { &[] }
    }

    fn number(&self) -> Option<f64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }

    fn eat(&mut self, token: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn text(&mut self) -> Result<String> {
        let Some((text, rest)) = self.rest.split_once('"') else { bail!("a string does not end") };
        self.rest = rest;
        Ok(text.to_owned())
    }

    fn value(&mut self) -> Result<Value> {
        if self.eat('{') {
            let mut members = Vec::new();
            while !self.eat('}') {
                if !self.eat('"') {
                    bail!("expected a key at: {}", self.rest.chars().take(40).collect::<String>());
                }
                let key = self.text()?;
                let value = if self.eat(':') { self.value()? } else { Value::Other };
                members.push((key, value));
            }
            Ok(Value::Object(members))
        } else if self.eat('[') {
            while !self.eat(']') {
                self.value()?;
            }
            Ok(Value::Other)
        } else if self.eat('"') {
            Ok(Value::Text(self.text()?))
        } else {
            let end = self.rest.find([',', '}', ']', '\n', ' ', '\t']).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            if word.is_empty() {
                bail!("a value is missing at the end");
            }
            self.rest = rest;
            Ok(word.parse().map_or(Value::Other, Value::Number))
        }
    }
}

/// Events by name.
#[derive(Default)]
struct Events(BTreeMap<String, EventId>);

impl Events {
    fn id(&mut self, name: &str) -> EventId {
        let next = self.0.len() as EventId;
        *self.0.entry(name.to_owned()).or_insert(next)
    }

    /// The event that a step names, by itself or by its `ref`; without either, the thread's own.
    fn of(&mut self, value: &Value, thread: &str) -> EventId {
        let name = match value {
            Value::Text(name) => name.as_str(),
            _ => match value.get("ref") {
                Some(Value::Text(name)) => name.as_str(),
                _ => thread,
            },
        };
        self.id(name)
    }
}

fn nanos(us: f64) -> Nanos {
    (us.max(0.0) * 1000.0) as Nanos
}

/// The steps of one round of an object with steps; phases are repeated as they say.
fn steps(thread: &str, value: &Value, events: &mut Events, steps: &mut Vec<Step>) {
    for (key, value) in value.members() {
        let number = value.number().unwrap_or(0.0);
        match key.as_str() {
            "run" => steps.push(Step::Run(nanos(number))),
            "sleep" => steps.push(Step::Sleep(nanos(number))),
            "timer" => {
                let period = value.get("period").and_then(Value::number).unwrap_or(0.0);
                steps.push(Step::Period(nanos(period)));
            }
            "suspend" | "wait" => steps.push(Step::Wait(events.of(value, thread))),
            "resume" | "signal" => steps.push(Step::Broadcast(events.of(value, thread))),
            "sync" => {
                let event = events.of(value, thread);
                steps.extend([Step::Broadcast(event), Step::Wait(event)]);
            }
            "phases" => {
                for (_, phase) in value.members() {
                    let rounds =
                        phase.get("loop").and_then(Value::number).unwrap_or(1.0).clamp(1.0, 10_000.0);
                    for _ in 0..rounds as u32 {
                        self::steps(thread, phase, events, steps);
                    }
                }
            }
            _ => {}
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Trace> {
    let description = Parser { rest: text }.value()?;
    let Some(tasks) = description.get("tasks") else { bail!("it has no \"tasks\"") };
    let mut events = Events::default();
    let mut programs = Vec::new();
    for (name, task) in tasks.members() {
        let mut list = Vec::new();
        steps(name, task, &mut events, &mut list);
        let number = |key| task.get(key).and_then(Value::number);
        let rounds = number("loop").unwrap_or(1.0);
        let blocks = |step: &Step| matches!(step, Step::Sleep(_) | Step::Period(_) | Step::Wait(_));
        let runs = |step: &Step| matches!(step, Step::Run(time) if *time > 0);
        if !list.iter().any(blocks) && !list.iter().any(runs) {
            bail!("thread {name} does nothing");
        }
        programs.push(Program {
            origin: Origin { program: key(name), ..Origin::default() },
            nice: Nice::new(number("priority").unwrap_or(0.0) as i32),
            start: 0,
            steps: list,
            rounds: if rounds < 0.0 { u32::MAX } else { rounds as u32 },
        });
    }
    let seconds = description.get("global").and_then(|global| global.get("duration")).and_then(Value::number);
    let end = seconds.map_or(LONGEST, |seconds| nanos(seconds * 1e6)).min(LONGEST);
    Ok(Trace::Fixed(Workload { programs, end: Some(end) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_bare_words_and_trailing_commas() {
        let text = r#"{ "tasks" : { "a" : { "priority" : -3, "loop" : -1, "suspend", "run" : 10,
            "resume" : "b", "run" : 5, }, "b": { "loop": 2, "phases" : { "p" : { "loop" : 2, "run" : 1 } },
            "timer" : { "ref" : "t", "period" : 100 } } }, "global" : { "duration" : 6 } }"#;
        let Ok(Trace::Fixed(workload)) = parse(text) else { panic!("a valid description was refused") };
        assert_eq!(workload.end, Some(6_000_000_000));
        let [a, b] = workload.programs.as_slice() else { panic!("two threads") };
        assert_eq!(a.steps, [Step::Wait(0), Step::Run(10_000), Step::Broadcast(1), Step::Run(5_000)]);
        assert_eq!((a.nice.value(), a.rounds), (-3, u32::MAX));
        assert_eq!(b.steps, [Step::Run(1000), Step::Run(1000), Step::Period(100_000)]);
    }
}
