//! A run as the steps before export leave it, made in a moment: a small BPE tokenizer trained on this repository's own
//! prose, random weights, token ids. The formats are the real ones (`slm::run_folder`); only the training is missing.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use slm::run_folder::{RunFolder, Split};
use slm::shape::Shape;
use slm::trained;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, DecoderWrapper, PreTokenizerWrapper, Tokenizer, TokenizerBuilder};

/// Two layers, every width a multiple of 256 so that K-quants apply.
pub const SHAPE: &str = "name = \"fixture\"\nlayers = 2\nwidth = 256\nffn = 512\nheads = 8\nkv_heads = 4\n\
                         head_dim = 32\nvocabulary = 600\ncontext = 256\n";

/// A run in a folder that goes when this is dropped.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub run: RunFolder,
    pub shape: Shape,
    pub tokenizer: Tokenizer,
}

/// Prose to train the tokenizer on and to take tokens from.
pub fn prose() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    ["README.md", "docs/architecture.md"].map(|file| fs::read_to_string(root.join(file)).unwrap()).concat()
}

impl Fixture {
    /// A run of [`SHAPE`].
    pub fn new() -> Fixture {
        Self::of(SHAPE)
    }

    /// A run of this shape. The tokenizer is a little smaller than the vocabulary, which leaves unused rows.
    pub fn of(config: &str) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let shape = Shape::from_toml(config).unwrap();
        for part in ["model", "data"] {
            fs::create_dir_all(run.join(part)).unwrap();
        }
        fs::write(run.config(), config).unwrap();
        fs::write(run.weights(), weights(&shape)).unwrap();
        let text = prose();
        let tokenizer = tokenizer(&text, shape.vocabulary as usize - 7);
        tokenizer.save(run.tokenizer(), false).unwrap();
        let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        let bytes = |ids: &[u32]| ids.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect::<Vec<u8>>();
        let (train, valid) = ids.split_at(ids.len() * 3 / 4);
        fs::write(run.tokens(Split::Train), bytes(train)).unwrap();
        fs::write(run.tokens(Split::Valid), bytes(valid)).unwrap();
        fs::write(run.join("data/data.json"), "{\"seed\": 11}").unwrap();
        Fixture { folder, run, shape, tokenizer }
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Byte-level BPE with digits apart, as `auton tokenizer train --kind bpe` sets it up.
pub fn tokenizer(text: &str, size: usize) -> Tokenizer {
    let level = ByteLevel::new(false, true, true);
    let stages = vec![PreTokenizerWrapper::Digits(Digits::new(true)), PreTokenizerWrapper::ByteLevel(level)];
    let mut tokenizer =
        TokenizerBuilder::<_, tokenizers::NormalizerWrapper, _, tokenizers::PostProcessorWrapper, _>::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(stages))))
            .with_post_processor(None)
            .with_decoder(Some(DecoderWrapper::ByteLevel(level)))
            .build()
            .unwrap();
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(|text| AddedToken::from(text, true));
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(size)
        .special_tokens(special.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, text.lines().map(str::to_owned)).unwrap();
    tokenizer.into()
}

/// Seeded numbers, about normal.
pub struct Random(pub u64);

impl Random {
    /// From -1 to 1.
    pub fn even(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// With variance 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.even()).sum::<f32>() / 2.0
    }
}

/// A safetensors file of random weights.
pub fn weights(shape: &Shape) -> Vec<u8> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let tensors: Vec<_> = trained::places(shape)
        .into_iter()
        .map(|place| {
            let scale =
                if place.name == trained::EMBEDDING { 0.1 } else { 1.5 / (place.columns as f32).sqrt() };
            let norm = place.name.ends_with("norm.weight");
            let mut number = || if norm { 1.0 + 0.2 * random.even() } else { scale * random.normal() };
            let bytes: Vec<u8> =
                (0..place.rows * place.columns).flat_map(|_| number().to_le_bytes()).collect();
            let dims = if norm { vec![place.columns] } else { vec![place.rows, place.columns] };
            (place.name, dims, bytes)
        })
        .collect();
    let view = |dims: &Vec<usize>, bytes| TensorView::new(Dtype::F32, dims.clone(), bytes).unwrap();
    safetensors::serialize(tensors.iter().map(|(name, dims, bytes)| (name, view(dims, bytes))), None).unwrap()
}

/// A program of llama.cpp as `cargo xtask bench llm --peer` builds it; `None`, said on the terminal, where it is not.
pub fn llama_cpp(program: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let file = cache.join("auton/llama.cpp-0.3.36/build/bin").join(program);
    if !file.is_file() {
        eprintln!("skipped: no llama.cpp ({} is not there)", file.display());
        return None;
    }
    Some(file)
}
