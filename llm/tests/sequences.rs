//! Several sequences in flight: each says what it says alone, whatever it shares its batches, its pages and its engine with.

mod common;

use common::tiny::{LAYERS, VOCABULARY, WIDTH, model};
use llm::clock::StdClock;
use llm::engine::{
    Engine, EngineError, Flow, GenerateOptions, Generation, KvFormat, LoadOptions, Origin, Overflow, Piece,
    Sampling, Sequence, Step, StopReason, Variant,
};
use llm::gguf::{GgmlType, Gguf};
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::model::config::Config;
use llm::model::kv::Place;
use llm::model::matrix::{Compute, Placing};
use llm::model::{BATCH, LOGIT_ROWS, Llama, Row};
use llm::pool::Pool;
use llm::prefix::PrefixCache;
use llm::random::SplitMix64;
use llm::threads::Threads;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| model(GgmlType::Q4_1, false).0);

/// Runs `test` with an engine for `file`.
fn with_engine<R>(file: &[u8], options: LoadOptions, test: impl FnOnce(&mut Engine<'_>) -> R) -> R {
    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0x7Fu8; 16 << 20]);
    let pool = Pool::new(&mut memory);
    test(&mut Engine::load(Gguf::parse(file).unwrap(), pool, &threads, &clock, options).unwrap())
}

fn positions(context: usize) -> LoadOptions {
    LoadOptions { context: Some(context), ..LoadOptions::default() }
}

fn prompt(length: usize, seed: u32) -> Vec<u32> {
    (0..length as u32).map(|i| (i * 97 + seed * 31 + 13) % 256).collect()
}

/// What a reader saw of one generation.
#[derive(Debug, Clone, Default, PartialEq)]
struct Said {
    tokens: Vec<(u32, Origin)>,
    text: String,
    stop: Option<StopReason>,
}

impl Said {
    fn hear(&mut self, piece: Piece<'_>, stop_at: usize) -> Flow {
        self.text.push_str(std::str::from_utf8(piece.bytes).unwrap());
        // What is left of a text that breaks off comes with no token of its own.
        if piece.origin != Origin::Prompt {
            self.tokens.push((piece.token, piece.origin));
        }
        if self.tokens.len() == stop_at { Flow::Stop } else { Flow::Continue }
    }
}

/// What is asked of one sequence.
#[derive(Debug, Clone)]
struct Wish {
    prompt: Vec<u32>,
    forced: Vec<u32>,
    sampling: Sampling,
    max_tokens: usize,
    held: bool,
    shift: bool,
    stop_at: usize,
}

impl Wish {
    fn options<C>(&self, constraint: Option<C>) -> GenerateOptions<'_, C> {
        GenerateOptions {
            forced: &self.forced,
            sampling: self.sampling,
            max_tokens: self.max_tokens,
            constraint,
            overflow: if self.shift { Overflow::Shift { keep: 3 } } else { Overflow::Stop },
        }
    }
}

fn wishes() -> impl Strategy<Value = Wish> {
    let sampling = (0u64..9, prop::sample::select(vec![0.0f32, 1.0, 4.0]), any::<bool>());
    // Few seeds, so that prompts often begin alike.
    (1usize..100, 0u32..3, 0usize..4, sampling, 0usize..14, 0u32..10, 0u32..10, 1usize..40).prop_map(
        |(length, kind, forced, (seed, temperature, penalty), max_tokens, held, shift, stop_at)| Wish {
            prompt: prompt(length, kind),
            forced: prompt(forced, 9),
            sampling: Sampling {
                temperature,
                seed,
                repeat_penalty: if penalty { 1.3 } else { 1.0 },
                ..Sampling::greedy()
            },
            // Some want more than the whole context has.
            max_tokens: if shift == 0 { 150 } else { max_tokens },
            held: held < 3,
            shift: shift == 0,
            stop_at: if stop_at < 8 { stop_at } else { usize::MAX },
        },
    )
}

const CONTEXT: usize = 160;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Sequences begin, wait for room, are given up half-way through a batch, and end, at any time.
    #[test]
    fn each_says_what_it_says_alone(
        wishes in prop::collection::vec(wishes(), 1..9), prompt_tokens in 1usize..80, seed: u64, byte: bool,
    ) {
        let kv = if byte { KvFormat::Byte } else { KvFormat::Integer };
        let options = LoadOptions { kv, ..positions(CONTEXT) };
        let grammar = Arc::new(Grammar::parse("root ::= ([a-z] | \"é\" | \"12345\"){2,9} \".\"").unwrap());
        let alone: Vec<Said> = with_engine(&FILE, options, |engine| {
            let trie = Arc::new(TokenTrie::new(engine.tokenizer()).unwrap());
            let mut constraint = Constraint::new(grammar.clone(), trie).unwrap();
            let mut run = |wish: &Wish| {
                let mut said = Said::default();
                let options = wish.options(wish.held.then_some(&mut constraint));
                let mut sink = |piece: Piece<'_>| said.hear(piece, wish.stop_at);
                let done = engine.generate_with(&wish.prompt, options, &mut sink).unwrap();
                said.stop = Some(done.stop);
                said
            };
            wishes.iter().map(&mut run).collect()
        });
        let together = with_engine(&FILE, options, |engine| {
            let trie = Arc::new(TokenTrie::new(engine.tokenizer()).unwrap());
            let mut random = SplitMix64::new(seed);
            let mut said = vec![Said::default(); wishes.len()];
            let mut waiting: Vec<usize> = (0..wishes.len()).rev().collect();
            let mut running: Vec<(usize, Sequence)> = Vec::new();
            while !waiting.is_empty() || !running.is_empty() {
                if let Some(&next) = waiting.last().filter(|_| running.is_empty() || random.next_u64().is_multiple_of(3)) {
                    let wish = &wishes[next];
                    let constraint =
                        wish.held.then(|| Constraint::new(grammar.clone(), trie.clone()).unwrap());
                    match engine.begin(&wish.prompt, wish.options(constraint)) {
                        Ok(sequence) => {
                            assert!(sequence.positions() <= CONTEXT);
                            running.push((next, sequence));
                            waiting.pop();
                        }
                        Err(EngineError::CacheFull { wanted, free }) => {
                            assert!(!running.is_empty() && wanted > free);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                let numbers: Vec<usize> = running.iter().map(|(number, _)| *number).collect();
                let mut sequences: Vec<&mut Sequence> = running.iter_mut().map(|(_, s)| s).collect();
                let mut layers = 0;
                let give_up_at = random.next_u64() % 12;
                let step = engine.step(
                    &mut sequences,
                    prompt_tokens,
                    &mut || { layers += 1; layers != give_up_at },
                    &mut |index, piece| {
                        let number = numbers[index];
                        said[number].hear(piece, wishes[number].stop_at)
                    },
                );
                match step {
                    Some(Step { decoded, prompt }) => {
                        assert!(prompt <= prompt_tokens && decoded + prompt <= BATCH);
                        assert!(decoded + prompt == 0 || layers == LAYERS as u64);
                    }
                    None => assert_eq!(layers, give_up_at),
                }
                let mut at = 0;
                while at < running.len() {
                    if running[at].1.ended().is_some() {
                        let (number, sequence) = running.swap_remove(at);
                        said[number].stop = Some(engine.end(sequence).unwrap().stop);
                    } else {
                        at += 1;
                    }
                }
            }
            assert_eq!(engine.free_positions(), CONTEXT);
            said
        });
        prop_assert_eq!(alone, together);
    }

    /// The model itself: sequences of any lengths, in batches of any make-up, on pages in any order, have the very logits of each
    /// alone in a fresh context.
    #[test]
    fn logits_do_not_depend_on_the_batch(
        lengths in prop::collection::vec(1usize..70, 1..7), seed: u64, cpus in 1usize..4, variant in 0usize..5,
        kv in prop::sample::select(vec![KvFormat::Integer, KvFormat::Byte, KvFormat::Float]),
    ) {
        let usable: Vec<Variant> = Variant::ALL.into_iter().filter(|variant| variant.is_usable()).collect();
        let variant = usable[variant % usable.len()];
        let mut random = SplitMix64::new(seed);
        let mut below = |limit: usize| (random.next_u64() % limit as u64) as usize;
        let sequences: Vec<Vec<u32>> =
            lengths.iter().map(|&n| (0..n).map(|_| below(VOCABULARY) as u32).collect()).collect();

        let (gguf, threads) = (Gguf::parse(&FILE).unwrap(), Threads::new(cpus));
        let mut memory = vec![0x7Fu8; 16 << 20];
        let mut pool = Pool::new(&mut memory);
        let config = Config::from_gguf(&gguf).unwrap();
        let placing = Placing { panels: variant.wants_panels(), parallel: &threads };
        let mut llama = Llama::load(&gguf, config, 512, &mut pool, placing).unwrap();
        llama.add_cache(512, kv, &mut pool).unwrap();
        let mut free: Vec<u32> = (0..llama.cache().pages() as u32).collect();
        let tables: Vec<Vec<u32>> = lengths
            .iter()
            .map(|n| (0..n.div_ceil(16)).map(|_| free.swap_remove(below(free.len()))).collect())
            .collect();
        let compute = Compute { parallel: &threads, variant };
        let mut read = vec![0; sequences.len()];
        let mut found = vec![Vec::new(); sequences.len()];
        while found.iter().any(Vec::is_empty) {
            let (mut rows, mut last) = (Vec::new(), Vec::new());
            for (number, tokens) in sequences.iter().enumerate() {
                let count = below(20).min(tokens.len() - read[number]).min(BATCH - rows.len());
                for (position, &token) in tokens.iter().enumerate().skip(read[number]).take(count) {
                    let place = Place { position, pages: &tables[number] };
                    rows.push(Row { token, place });
                }
                read[number] += count;
                if count > 0 && read[number] == tokens.len() {
                    last.push((number, rows.len() - 1));
                }
            }
            if rows.is_empty() {
                continue;
            }
            assert!(llama.forward(compute, &rows, &mut || true));
            for last in last.chunks(LOGIT_ROWS) {
                let asked: Vec<usize> = last.iter().map(|(_, row)| *row).collect();
                let mut logits = llama.logits(compute, &asked);
                for (at, (number, _)) in last.iter().enumerate() {
                    found[*number] = logits.of(at).to_vec();
                }
            }
        }
        let options = LoadOptions { kv, variant: Some(Variant::Portable), ..positions(512) };
        with_engine(&FILE, options, |engine| {
            for (tokens, found) in sequences.iter().zip(&found) {
                let alone = engine.logits(tokens).unwrap();
                let equal = alone.iter().zip(found).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(equal && alone.len() == found.len(), "{variant} {kv:?}");
            }
        });
    }
}

/// Begins a greedy sequence.
fn begin(engine: &mut Engine<'_>, prompt: &[u32], max_tokens: usize) -> Result<Sequence, EngineError> {
    engine.begin(prompt, GenerateOptions { max_tokens, ..GenerateOptions::default() })
}

/// Carries a sequence to its end: what it did, and the model's tokens.
fn finish(engine: &mut Engine<'_>, mut sequence: Sequence) -> (Generation, Vec<u32>) {
    let mut tokens = Vec::new();
    while sequence.ended().is_none() {
        engine.step(&mut [&mut sequence], BATCH, &mut || true, &mut |_, piece| {
            tokens.extend((piece.origin == Origin::Model).then_some(piece.token));
            Flow::Continue
        });
    }
    (engine.end(sequence).unwrap(), tokens)
}

#[test]
fn a_full_cache_is_not_a_long_prompt() {
    with_engine(&FILE, positions(100), |engine| {
        let first = begin(engine, &prompt(30, 0), 19).unwrap();
        let second = begin(engine, &prompt(20, 1), 10).unwrap();
        // 48 and 29 positions, in pages of 16: two pages of seven are left.
        let full = begin(engine, &prompt(30, 2), 10).err();
        assert_eq!(full, Some(EngineError::CacheFull { wanted: 39, free: 32 }));
        assert_eq!(engine.free_positions(), 32);
        let long = begin(engine, &prompt(101, 2), 1).err();
        assert_eq!(long, Some(EngineError::PromptTooLong { tokens: 101, context: 100 }));
        let record = begin(engine, &prompt(90, 2), 0).unwrap();
        assert_eq!((record.positions(), finish(engine, record).0.stop), (0, StopReason::MaxTokens));
        // One that is given up counts as cancelled, and its room is there again.
        assert_eq!(engine.end(first).unwrap().stop, StopReason::Cancelled);
        let third = begin(engine, &prompt(30, 2), 10).unwrap();
        finish(engine, third);
        finish(engine, second);
        // Any one may use all of it.
        let all = begin(engine, &prompt(30, 3), usize::MAX).unwrap();
        assert_eq!((all.positions(), engine.free_positions()), (100, 0));
        assert_eq!(finish(engine, all).0.stop, StopReason::ContextFull);
    });
}

#[test]
fn what_ended_sequences_read_is_taken_over() {
    with_engine(&FILE, positions(256), |engine| {
        let (one, other) = (prompt(40, 1), prompt(50, 2));
        let (first, second) = (begin(engine, &one, 8).unwrap(), begin(engine, &other, 8).unwrap());
        let (first, second) = (finish(engine, first), finish(engine, second));
        assert_eq!((first.0.reused_tokens, second.0.reused_tokens), (0, 0));
        for (prompt, before) in [(&one, &first), (&other, &second), (&one, &first)] {
            let again = begin(engine, prompt, 8).unwrap();
            let again = finish(engine, again);
            assert_eq!((again.0.reused_tokens, &again.1), (prompt.len() - 1, &before.1));
        }
        // The answer and another question: all but the token that was said last was read.
        let longer = [&one[..], &first.1, &[5, 6]].concat();
        let longer = begin(engine, &longer, 1).unwrap();
        assert_eq!(longer.so_far().reused_tokens, one.len() + 7);
        finish(engine, longer);
    });
}

#[test]
fn what_a_sequence_read_can_be_remembered_while_it_runs() {
    with_engine(&FILE, positions(256), |engine| {
        let mut prefixes: PrefixCache<Vec<u8>> = PrefixCache::new();
        prefixes.set_limit(1 << 20);
        let prompt = prompt(40, 1);
        let mut first = begin(engine, &prompt, 8).unwrap();
        assert_eq!(first.recall(engine, &mut prefixes), 0);
        let mut tokens = Vec::new();
        let mut sink = |_: usize, piece: Piece<'_>| {
            tokens.push(piece.token);
            Flow::Continue
        };
        let step = engine.step(&mut [&mut first], 37, &mut || true, &mut sink).unwrap();
        assert_eq!((step, first.prompt_left()), (Step { decoded: 0, prompt: 37 }, 3));
        first.remember(engine, &mut prefixes, &mut |bytes| Some(vec![0; bytes]));
        let mut second = begin(engine, &prompt, 8).unwrap();
        assert_eq!(second.recall(engine, &mut prefixes), 32);
        while first.ended().is_none() {
            engine.step(&mut [&mut first], 64, &mut || true, &mut sink).unwrap();
        }
        first.remember(engine, &mut prefixes, &mut |bytes| Some(vec![0; bytes]));
        engine.end(first).unwrap();
        let (done, second) = finish(engine, second);
        assert_eq!((done.reused_tokens, &second), (32, &tokens));
        // With all of it remembered, the last token is read again.
        engine.logits(&[1]).unwrap();
        engine.logits_each(&[3; 256], 256, &mut |_, _| ()).unwrap();
        let mut third = begin(engine, &prompt, 8).unwrap();
        assert_eq!(third.recall(engine, &mut prefixes), 39);
        let (done, third) = finish(engine, third);
        assert_eq!((done.reused_tokens, &third), (39, &tokens));
    });
}

#[test]
fn what_goes_wrong_with_one_ends_only_that_one() {
    // A head of its own, so that the token's embedding is all that is damaged.
    let (mut file, _) = model(GgmlType::F32, true);
    let at = {
        let gguf = Gguf::parse(&file).unwrap();
        gguf.tensor("token_embd.weight").unwrap().data.as_ptr() as usize - file.as_ptr() as usize
    };
    file[at + 77 * WIDTH * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    with_engine(&file, positions(256), |engine| {
        let good = begin(engine, &[1, 2, 3], 6).unwrap();
        let alone = finish(engine, good).1;
        let mut good = begin(engine, &[1, 2, 3], 6).unwrap();
        let mut bad = begin(engine, &[1, 77, 3], 6).unwrap();
        let mut tokens = Vec::new();
        while good.ended().is_none() {
            engine.step(&mut [&mut bad, &mut good], 3, &mut || true, &mut |index, piece| {
                assert_eq!(index, 1);
                tokens.push(piece.token);
                Flow::Continue
            });
        }
        assert_eq!(tokens, alone);
        assert_eq!(bad.ended(), Some(Err(EngineError::NotFinite)));
        assert_eq!(engine.end(bad), Err(EngineError::NotFinite));
        assert_eq!(engine.end(good).unwrap().stop, StopReason::MaxTokens);
    });
}

#[test]
fn more_sequences_than_rows_take_turns_by_their_order() {
    with_engine(&FILE, positions(512), |engine| {
        // A page holds 16 positions: as many sequences as there are pages, and still fewer than rows.
        let mut all: Vec<Sequence> = (0..32).map(|n| begin(engine, &[n, n + 1], 3).unwrap()).collect();
        let mut step = |all: &mut Vec<Sequence>, prompt_tokens| {
            let mut all: Vec<&mut Sequence> = all.iter_mut().collect();
            engine.step(&mut all, prompt_tokens, &mut || true, &mut |_, _| Flow::Continue).unwrap()
        };
        assert_eq!(step(&mut all, 40), Step { decoded: 0, prompt: 40 });
        assert_eq!(step(&mut all, 5), Step { decoded: 20, prompt: 5 });
        assert_eq!(step(&mut all, usize::MAX), Step { decoded: 22, prompt: 19 });
        assert_eq!(step(&mut all, 5).prompt, 0);
        for sequence in all {
            engine.end(sequence).unwrap();
        }
    });
}
