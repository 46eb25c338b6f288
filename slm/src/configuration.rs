//! A configuration file: the shape of a model at its top, how it is trained in its table `[training]`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::shape::Shape;
use crate::train::settings::Settings;

/// What a file of `slm/configs/` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// The model.
    pub shape: Shape,
    /// Its training; the defaults where the file has no such table.
    pub training: Settings,
}

impl Configuration {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_toml(&text).with_context(|| path.display().to_string())
    }

    /// Reads a file's text.
    pub fn from_toml(text: &str) -> Result<Self> {
        let mut table: toml::Table =
            toml::from_str(text).map_err(|e| anyhow::anyhow!("{}", e.to_string().trim()))?;
        let training = match table.remove("training") {
            Some(training) => training.try_into().map_err(|e| anyhow::anyhow!("[training]: {e}"))?,
            None => Settings::default(),
        };
        let shape: Shape = table.try_into().map_err(|e| anyhow::anyhow!("{e}"))?;
        shape.check()?;
        training.check()?;
        Ok(Configuration { shape, training })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_training_stand_in_one_file() {
        let text = include_str!("../configs/tiny_10M.toml");
        let tiny = Configuration::from_toml(text).unwrap();
        assert_eq!(tiny.shape, Shape::from_toml(text).unwrap());
        let fault = |text: &str| Configuration::from_toml(text).unwrap_err().to_string();
        assert!(fault(&format!("{text}\nrat = 3")).contains("rat"));
        assert!(fault(&text.replace("width = 512", "width = 500")).contains("no multiple of 32"));
    }
}
