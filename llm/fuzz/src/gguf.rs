//! A model file: parse, walk all of it, build the tokenizer and the engine, encode, generate two tokens.
//!
//! Pool, context, cache and variant are drawn from the input's own bytes, so that an input always runs alike. Now and
//! then it runs a second time on the portable variant and must choose the same tokens.

use crate::model_file::{Shape, TOKENS, file};
use crate::random::Random;
use crate::run::Target;
use llm::clock::StdClock;
use llm::engine::{Engine, EngineError, Flow, KvFormat, LoadError, LoadOptions, Origin, Variant};
use llm::gguf::{GgmlType, Gguf};
use llm::model::architecture::ARCHITECTURES;
use llm::parallel::SingleThread;
use llm::pool::{Pool, Purpose};
use llm::sample::Sampling;
use llm::template::Template;
use llm::tokenizer::{Special, Tokenizer};
use std::fmt::Debug;

/// The target, with the memory that its pools are made of.
pub struct GgufTarget {
    memory: Vec<u8>,
    clock: StdClock,
    variants: Vec<Variant>,
}

/// Enough for every model made here, whose context is 16 unless a change made it longer.
const POOL: usize = 1 << 20;

impl GgufTarget {
    /// A target with all variants that this machine can run.
    pub fn new() -> Self {
        let variants = Variant::ALL.into_iter().filter(|variant| variant.is_usable()).collect();
        Self { memory: vec![0; POOL], clock: StdClock::new(), variants }
    }

    /// Loads the model into the first `pool` bytes and continues a prompt: the tokens chosen.
    fn generate_in(
        &mut self,
        gguf: &Gguf<'_>,
        pool: usize,
        options: LoadOptions,
    ) -> Result<Result<Vec<u32>, EngineError>, LoadError> {
        let memory = self.memory.get_mut(..pool).expect("no larger than the memory");
        let mut engine = Engine::load(*gguf, Pool::new(memory), &SingleThread, &self.clock, options)?;
        let info = engine.info();
        assert!(info.context <= info.config.context);
        let usage = engine.usage();
        assert_eq!(usage.free + Purpose::ALL.iter().map(|&purpose| usage.used(purpose)).sum::<usize>(), pool);
        let mut chosen = Vec::new();
        let generated = engine.generate(&[1, 2], &[3], &Sampling::greedy(), 2, &mut |piece| {
            assert!(std::str::from_utf8(piece.bytes).is_ok());
            if piece.origin == Origin::Model {
                chosen.push(piece.token);
            }
            Flow::Continue
        });
        Ok(generated.map(|_| chosen))
    }
}

/// A number that depends on all bytes of an input.
fn fingerprint(input: &[u8]) -> u64 {
    let (words, rest) = input.as_chunks::<8>();
    let numbers = words.iter().map(|word| u64::from_le_bytes(*word)).chain(rest.iter().map(|&b| b.into()));
    numbers.fold(input.len() as u64, |hash, n| (hash ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

impl Target for GgufTarget {
    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut random = Random::new(7);
        let shape = |kind: GgmlType, architecture| Shape {
            architecture,
            width: (kind.block_size() as u64).max(32),
            kind,
            odd: 0,
        };
        let kinds = GgmlType::ALL.iter().map(|&kind| shape(kind, &ARCHITECTURES[0]));
        // Each architecture some times over, for what it may have or not is drawn.
        let architectures = ARCHITECTURES.iter().flat_map(|row| [shape(GgmlType::Q8_0, row); 4]);
        kinds.chain(architectures).map(|shape| file(&shape, &mut random)).collect()
    }

    fn words(&self) -> Vec<&'static [u8]> {
        vec![
            b"general.alignment",
            b"tokenizer.ggml.tokens",
            b"llama",
            b"mistral3",
            b"smollm3",
            b"qwen2",
            b"qwen3",
            b"phi3",
            b"gemma2",
            b"yarn",
            b"longrope",
            b"GGUF",
            b"gpt2",
            b"smollm",
            b"default",
            b"\x09\0\0\0\x08\0\0\0",
        ]
    }

    fn generate(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        let kind = random.pick(GgmlType::ALL);
        let width = (kind.block_size() as u64).max(8);
        let odd = if random.one_in(3) { 0 } else { random.next() as u32 };
        let row = if random.one_in(2) { 0 } else { random.below(ARCHITECTURES.len()) };
        let architecture = &ARCHITECTURES[row];
        Some(file(&Shape { architecture, width, kind, odd }, random))
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let gguf = match Gguf::parse(input) {
            Ok(gguf) => gguf,
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                return name("parse", &error);
            }
        };
        walk(&gguf);
        Template::from_gguf(&gguf).ask("hi");
        let mut ids = Vec::new();
        match Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut self.memory)) {
            Err(error) => drop(error.to_string()),
            Ok(tokenizer) => {
                tokenizer.encode("hello <s>the 12 hé", Special::Parse, &mut ids);
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
                let mut text = Vec::new();
                (0..TOKENS as u32 + 2).for_each(|id| tokenizer.decode(id, &mut text));
            }
        }
        let mut draw = Random::new(fingerprint(input));
        let pool = if draw.one_in(8) { draw.below(POOL) } else { POOL };
        let options = LoadOptions {
            context: if draw.one_in(2) { Some(8) } else { None },
            variant: Some(draw.pick(&self.variants)),
            kv: if draw.one_in(4) { KvFormat::Float } else { KvFormat::Integer },
        };
        match self.generate_in(&gguf, pool, options) {
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                name("load", &error)
            }
            Ok(generated) => {
                if draw.one_in(8) {
                    self.memory.fill(draw.next() as u8);
                    let portable = LoadOptions { variant: Some(Variant::Portable), ..options };
                    assert_eq!(self.generate_in(&gguf, pool, portable), Ok(generated.clone()), "{options:?}");
                }
                match generated {
                    Ok(_) => "ok".into(),
                    Err(error) => {
                        assert!(!error.to_string().contains('\n'));
                        name("generate", &error)
                    }
                }
            }
        }
    }
}

/// Reads everything that a parsed file offers.
fn walk(gguf: &Gguf<'_>) {
    let entries = gguf.metadata().map(|(key, value)| {
        assert!(gguf.metadata_len() > 100 || gguf.get(key).is_some());
        let array = value.as_array();
        assert!(array.is_none_or(|array| array.iter().count() == array.len()));
        (value.as_u64(), value.as_f32().is_some(), value.as_str().is_some())
    });
    assert_eq!(entries.count(), gguf.metadata_len());
    let inside = gguf.bytes().as_ptr_range();
    let tensors = gguf.tensors().map(|tensor| {
        let range = tensor.data.as_ptr_range();
        assert!(tensor.data.is_empty() || (inside.start <= range.start && range.end <= inside.end));
        let blocks = tensor.elements() / tensor.kind.block_size() as u64;
        assert_eq!(blocks * tensor.kind.type_size() as u64, tensor.data.len() as u64);
    });
    assert_eq!(tensors.count(), gguf.tensors_len());
}

/// The variant of an error, without its fields.
fn name(stage: &str, error: &impl Debug) -> String {
    let text = format!("{error:?}");
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '(').unwrap_or(text.len());
    format!("{stage}: {}", text[..end].trim_end_matches('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_each_type_of_matrix_comes_to_its_end() {
        let mut target = GgufTarget::new();
        let mut random = Random::new(3);
        use GgmlType::*;
        for kind in [
            F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ4_NL, IQ4_XS,
            MXFP4,
        ] {
            let width = (kind.block_size() as u64).max(32);
            let shape = Shape { architecture: &ARCHITECTURES[0], width, kind, odd: 0 };
            let ends: Vec<String> = (0..64).map(|_| target.execute(&file(&shape, &mut random))).collect();
            assert!(ends.iter().any(|end| end == "ok"), "{kind:?}: {ends:?}");
        }
    }

    #[test]
    fn a_model_of_each_architecture_comes_to_its_end() {
        let mut target = GgufTarget::new();
        let mut random = Random::new(4);
        for architecture in &ARCHITECTURES {
            let shape = Shape { architecture, width: 32, kind: GgmlType::Q4_0, odd: 0 };
            let ends: Vec<String> = (0..64).map(|_| target.execute(&file(&shape, &mut random))).collect();
            let fine = ends.iter().filter(|end| *end == "ok").count();
            assert!(fine > 16, "{}: {ends:?}", architecture.name);
        }
    }
}
