//! Where the steps of one model put what they make: a folder per run, by default `target/slm/<name>`.
//!
//! ```text
//! <run>/
//!   corpus/<source>.jsonl      one document a line: {"source", "name", "text"}
//!   corpus.json                packages with version, SHA-256 and licence; documents and bytes of each source
//!   tokenizer.json             as the `tokenizers` crate writes it
//!   data/train.bin …           token ids, u16 little endian, each document ended by <|endoftext|> (id 0)
//!   data/valid.jsonl …         the documents that were held out, as text
//!   data/devices.json          which devices are well known, and which were never trained on
//!   data/data.json             tokens by source and split, seed, what was cleaned away
//!   train/checkpoint.safetensors  weights, optimiser and position; replaced as a whole
//!   train/loss.csv .svg .png   the loss curve
//!   model/model.safetensors    the trained weights in F32, under Hugging Face's names of the llama family
//!   model/config.toml          their shape
//!   gguf/<name>.<type>.gguf    exported and quantised models
//!   model.onnx                 the same graph for onnxruntime
//!   eval/report.md .json       what the evaluation found
//!   workflow.json              state of the task graph
//! ```

use std::path::{Path, PathBuf};

/// The splits of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What the weights are fitted on.
    Train,
    /// What decides about the run while it goes on: the learning curve, the choice among candidates.
    Valid,
    /// What is looked at once, for the report.
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

    /// The split's name in files.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run whose files lie in `folder`, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        RunFolder(folder.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file or folder of the run, by its place in the picture above.
    pub fn join(&self, place: impl AsRef<Path>) -> PathBuf {
        self.0.join(place)
    }

    /// Token ids of a split.
    pub fn tokens(&self, split: Split) -> PathBuf {
        self.join(format!("data/{}.bin", split.name()))
    }

    /// Documents of a split, as text.
    pub fn documents(&self, split: Split) -> PathBuf {
        self.join(format!("data/{}.jsonl", split.name()))
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> PathBuf {
        self.join("tokenizer.json")
    }

    /// The trained weights.
    pub fn weights(&self) -> PathBuf {
        self.join("model/model.safetensors")
    }

    /// The shape of the trained weights.
    pub fn config(&self) -> PathBuf {
        self.join("model/config.toml")
    }
}
