//! All that a run needs to go on as if it had never stopped, in one file that is replaced as a whole.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::optimizer::Optimizer;
use super::parameters::{Parameters, read};
use super::settings::Settings;
use crate::curve::Row;
use crate::shape::Shape;
use crate::whole_file;

/// Where a run stands, beside its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The shape of the model.
    pub shape: Shape,
    /// The settings of the run.
    pub settings: Settings,
    /// SHA-256 of the training stream.
    pub data: String,
    /// Updates done.
    pub step: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// The loss curve, one row for each update.
    pub rows: Vec<Row>,
}

/// The metadata's one key.
const KEY: &str = "auton.training";

/// Writes a checkpoint; after an error the one before it is as it was.
pub fn write(path: &Path, position: &Position, parameters: &Parameters, optimizer: &Optimizer) -> Result<()> {
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors = Vec::new();
    for (i, p) in parameters.all.iter().enumerate() {
        tensors.push((format!("{i}.values"), read(&p.values, bytes)?));
        tensors.push((format!("{i}.first"), bytes(&optimizer.first[i])));
        tensors.push((format!("{i}.second"), bytes(&optimizer.second[i])));
    }
    let views = tensors
        .iter()
        .map(|(name, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, vec![data.len() / 4], data)?)));
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let metadata = HashMap::from([(KEY.to_string(), serde_json::to_string(position)?)]);
    whole_file::write(path, &safetensors::serialize(views, Some(metadata))?)
}

/// Reads a checkpoint.
pub fn load(path: &Path) -> Result<(Position, Parameters, Optimizer)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is no checkpoint (begin again with --fresh)", path.display()))
}

fn parse(bytes: &[u8]) -> Result<(Position, Parameters, Optimizer)> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let text =
        header.metadata().as_ref().and_then(|m| m.get(KEY)).context("it says nothing of a training run")?;
    let position: Position = serde_json::from_str(text)?;
    position.shape.check()?;
    position.settings.check()?;
    let file = SafeTensors::deserialize(bytes)?;
    let mut parameters = Parameters::random(&position.shape, 0)?;
    let mut optimizer = Optimizer::new(&parameters);
    optimizer.steps = position.step;
    for (i, p) in parameters.all.iter_mut().enumerate() {
        let numbers = |what: &str, count: usize| -> Result<Vec<f32>> {
            let name = format!("{i}.{what}");
            let data = file.tensor(&name)?.data().to_vec();
            ensure!(data.len() == 4 * count, "{name} has {} numbers, not {count}", data.len() / 4);
            Ok(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        };
        p.values =
            Tensor::from_vec(numbers("values", p.rows() * p.columns)?, (p.rows(), p.columns), &Device::Cpu)?;
        optimizer.first[i] = numbers("first", optimizer.first[i].len())?;
        optimizer.second[i] = numbers("second", optimizer.second[i].len())?;
    }
    Ok((position, parameters, optimizer))
}
