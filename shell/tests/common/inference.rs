//! The machine's inference service: the real desk, and a model that answers with words of a fixed text, one token each.

use super::Machine;
use llm::graph::Picture;
use llm::service::*;
use shell::slm::SlmError;
use shell::*;
use std::time::Duration;

/// What a turn of the model takes.
const TURN: Duration = Duration::from_millis(100);
const HZ: u64 = 1_000_000_000;
/// Cycles that the CPUs may give in a period of a second.
const FREE_NS: u64 = 900_000_000;

/// A job as it came.
pub struct Asked {
    pub operation: Operation,
    pub priority: Priority,
    pub deadline_ns: Option<u64>,
    pub chunk: u32,
    pub sampling: llm::sampling::Sampling,
    pub form: Form,
    pub grammar: Option<String>,
}

/// What commands change.
pub struct State {
    desk: Service,
    /// The words that the model knows; a token is a place in it, from 1.
    pub words: Vec<Vec<u8>>,
    /// Requests in flight: the words that they will still get, and whether they want them as numbers.
    running: Vec<(RequestId, usize, bool)>,
    pub jobs: Vec<Asked>,
    pub now: Duration,
    budget: Option<BudgetState>,
    worst: Option<u64>,
    graph: Option<Picture>,
    /// What was exported, and whether there is a disk.
    pub exported: Vec<String>,
    pub disk: bool,
    keys: [u64; 2],
    pub random: bool,
    embedded: u64,
    /// The model fails at its first token.
    pub broken: bool,
}

impl Default for State {
    fn default() -> Self {
        let words = ["A", " page", " is", " a", " piece", " of", " memory", "."];
        Self {
            desk: Service::new(Limits::default()).expect("memory"),
            words: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            running: Vec::new(),
            jobs: Vec::new(),
            now: Duration::from_secs(100),
            budget: None,
            worst: None,
            graph: None,
            exported: Vec::new(),
            disk: true,
            keys: [0x0300_0000_0000_00aa, 0x0200_0000_0000_00bb],
            random: true,
            embedded: 0,
            broken: false,
        }
    }
}

impl State {
    pub fn desk(&mut self) -> &mut Service {
        &mut self.desk
    }

    fn now(&self) -> u64 {
        self.now.as_nanos() as u64
    }

    /// A turn of the model: whoever may is started, and everybody in flight gets a token.
    fn turn(&mut self) {
        self.now += TURN;
        let now = self.now();
        while let Some((id, job)) = self.desk.start_next(now) {
            let length = job.max_tokens.min(self.words.len());
            let numbers = matches!(job.form, Form::Tokens(_)) && job.operation == Operation::Graph;
            self.running.push((id, length, numbers));
        }
        let mut turn = Turn::default();
        self.desk.turn(now, &mut turn);
        for (id, end) in turn.end() {
            self.finish(id, end);
        }
        // Prompts are read in no time.
        for &id in turn.run().iter().chain(turn.reading()) {
            let Some(&(_, length, numbers)) = self.running.iter().find(|(other, ..)| *other == id) else {
                continue;
            };
            if self.broken {
                self.desk.fail(id, Failure::Engine("the model is broken".into()), Counts::default(), now);
                continue;
            }
            let made = self.desk.requests().find(|r| r.id == id).map_or(0, |r| r.tokens as usize);
            match numbers {
                true => self.desk.deliver(id, &(made as u32 + 1).to_le_bytes(), 1, false, now),
                false => self.desk.deliver(id, &self.words[made].clone(), 1, false, now),
            }
            self.worst = Some(TURN.as_nanos() as u64 * HZ / 1_000_000_000);
            if made + 1 == length {
                self.finish(id, if length < self.words.len() { End::MaxTokens } else { End::Finished });
            }
        }
    }

    fn finish(&mut self, id: RequestId, end: End) {
        let tokens = self.desk.requests().find(|r| r.id == id).map_or(0, |r| r.tokens);
        let decode_ns = u64::from(tokens) * TURN.as_nanos() as u64;
        let counts = Counts { prompt_tokens: 9, tokens, decode_ns, ..Counts::default() };
        self.desk.complete(id, end, counts, self.now());
        self.running.retain(|(other, ..)| *other != id);
    }
}

impl Inference for Machine {
    fn inference_load(&self, name: Option<&str>, wcet_cycles: Option<u64>) -> Result<(), ServiceError> {
        if let Some(name) = name {
            return Err(ServiceError::Failed(format!("there is no model {name}; none was uploaded")));
        }
        self.slm_load()?;
        let mut state = self.inference.borrow_mut();
        state.worst = wcet_cycles.or(state.worst);
        let (now, entry) = (state.now(), AuditEntry::new(CONSOLE, Operation::Load, Status::OK));
        state.desk.record(entry, now);
        Ok(())
    }

    fn set_budget(&self, change: BudgetChange) -> Result<BudgetState, ServiceError> {
        let mut state = self.inference.borrow_mut();
        let before = state.budget.map(|state| state.budget);
        let measured = change.wcet_cycles.is_none();
        let wcet_cycles = change.wcet_cycles.or(state.worst.map(Budget::with_margin)).unwrap_or(0);
        let period_ns = change.period_ns.or(before.map(|b| b.period_ns)).unwrap_or(1_000_000_000);
        let tokens = change.tokens.or(before.map(|b| b.tokens)).unwrap_or(1);
        let budget = Budget { wcet_cycles, period_ns, tokens };
        let reserved_ns = budget.reserved_ns(HZ).map_err(|error| ServiceError::Failed(error.to_string()))?;
        if reserved_ns * (1_000_000_000 / period_ns) > FREE_NS {
            state.desk.count_refused_budget();
            return Err(ServiceError::Failed(format!("the CPUs have {FREE_NS} ns left, not {reserved_ns}")));
        }
        let (now, granted) = (state.now(), BudgetState { budget, measured, reserved_ns, cpus: 2 });
        state.desk.set_budget(Some(budget), now);
        state.budget = Some(granted);
        Ok(granted)
    }

    fn clear_budget(&self) {
        let mut state = self.inference.borrow_mut();
        let now = state.now();
        state.desk.set_budget(None, now);
        state.budget = None;
    }

    fn set_spread(&self, spread: Spread) {
        self.inference.borrow_mut().desk.set_spread(spread);
    }

    fn inference_status(&self) -> InferenceStatus {
        let state = self.inference.borrow();
        InferenceStatus {
            model: self.loaded.borrow().then(|| "SmolLM2-135M-Instruct".into()),
            context: 2048,
            limits: state.desk.limits(),
            budget: state.budget,
            pace: state.desk.pace(),
            spread: state.desk.spread(),
            worst_cycles: state.worst,
            cycles_per_second: HZ,
            requests: state.desk.requests().collect(),
            clients: state.desk.clients().to_vec(),
            stats: state.desk.stats().clone(),
            audited: state.desk.audit().written(),
        }
    }

    fn submit(&self, job: Job) -> Result<RequestId, ServiceError> {
        let mut state = self.inference.borrow_mut();
        let now = state.now();
        state.desk.set_open(*self.loaded.borrow(), now);
        let asked = Asked {
            operation: job.operation,
            priority: job.priority,
            deadline_ns: job.deadline_ns,
            chunk: job.chunk,
            sampling: job.sampling,
            form: job.form.clone(),
            grammar: job.grammar.clone(),
        };
        state.jobs.push(asked);
        Ok(state.desk.submit(job, now)?)
    }

    /// A turn of the model goes by with each wait.
    fn fetch(&self, id: RequestId, wait: Duration, out: &mut Vec<u8>) -> Result<Fetched, UnknownRequest> {
        let mut state = self.inference.borrow_mut();
        let mut fetched = state.desk.fetch(id, CONSOLE, out)?;
        if wait > Duration::ZERO && matches!(fetched, Fetched::Nothing(_)) {
            state.turn();
            fetched = state.desk.fetch(id, CONSOLE, out)?;
        }
        Ok(fetched)
    }

    fn cancel(&self, id: RequestId) -> Result<(), UnknownRequest> {
        let mut state = self.inference.borrow_mut();
        let now = state.now();
        state.desk.cancel(id, CONSOLE, true, now)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ServiceError> {
        match *self.loaded.borrow() {
            true => Ok(text.split_whitespace().map(|word| word.len() as u32).collect()),
            false => Err(SlmError::NotLoaded { reason: "unloaded by `slm unload`".into() }.into()),
        }
    }

    fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, ServiceError> {
        let state = self.inference.borrow();
        Ok(tokens.iter().flat_map(|&token| state.words[token as usize - 1].clone()).collect())
    }

    fn count_graph_drops(&self, chunks: u64) {
        self.inference.borrow_mut().desk.count_graph_drops(chunks);
    }

    fn keep_graph(&self, picture: Picture) {
        self.inference.borrow_mut().graph = Some(picture);
    }

    fn last_graph(&self) -> Option<Picture> {
        self.inference.borrow().graph.clone()
    }

    fn sleep(&self, _: Duration) {
        self.inference.borrow_mut().turn();
    }

    fn audit(&self) -> Vec<AuditEntry> {
        self.inference.borrow().desk.audit().entries().copied().collect()
    }

    fn export(&self, text: &str) -> Vec<Exported> {
        let mut state = self.inference.borrow_mut();
        state.exported.push(text.into());
        let disk = if state.disk { Ok(text.len() as u64) } else { Err("there is no disk".into()) };
        let region = Err("it holds 16 bytes".into());
        vec![
            Exported { place: "disk /audit/audit-1.json".into(), result: disk },
            Exported { place: "host region".into(), result: region },
        ]
    }
}

impl ControlKeys for Machine {
    fn keys(&self) -> Result<[String; 2], KeyError> {
        let state = self.inference.borrow();
        if !state.random {
            return Err(KeyError::NoRandomness);
        }
        Ok(state.keys.map(|key| format!("{key:016x}")))
    }

    fn rotate(&self, kind: KeyKind) -> Result<String, KeyError> {
        let mut state = self.inference.borrow_mut();
        let key = &mut state.keys[kind as usize];
        *key += 1;
        Ok(format!("{key:016x}"))
    }

    fn embed(&self, kind: KeyKind) -> Result<String, KeyError> {
        let mut state = self.inference.borrow_mut();
        if state.embedded == 2 {
            return Err(KeyError::TooMany(2));
        }
        state.embedded += 1;
        Ok(format!("{:016x}", state.keys[kind as usize] + 0x1000 * state.embedded))
    }
}
