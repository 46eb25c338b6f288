//! The loss curve of a run: read from `train/loss.csv`, drawn as `train/loss.svg` and `train/loss.png`, and sketched in a
//! line of a terminal.
//!
//! The pictures need no font of the machine's: twenty kilobytes of DejaVu Sans are in the program (`slm/assets`, free licence
//! beside it). They are replaced as a whole, so that who looks at a running training never sees half of one.

mod draw;
mod log;
mod sparkline;

use std::path::Path;

use anyhow::{Context, Result};

use crate::run_folder::RunFolder;
pub use log::{HEADER, Row, read, to_csv};
pub use sparkline::sparkline;

/// Draws `train/loss.svg` and `train/loss.png` of `train/loss.csv`, with `title` above (the model's name).
///
/// Fails where the log is missing, is not in the form of [`HEADER`], or holds no finite loss.
pub fn write(run: &RunFolder, title: &str) -> Result<()> {
    let rows = read(&run.join("train/loss.csv"))?;
    let picture = draw::Picture::new(&rows, title).context("train/loss.csv")?;
    let svg = picture.svg()?;
    replace(&run.join("train/loss.svg"), |file| Ok(std::fs::write(file, svg)?))?;
    replace(&run.join("train/loss.png"), |file| picture.png(file))
}

/// Has `make` write a file beside `file`, which then takes its place.
fn replace(file: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    // The encoder of pictures goes by the extension, so that stays at the end.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!("new-{name}"));
    let written = make(&beside).and_then(|()| Ok(std::fs::rename(&beside, file)?));
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_drawn_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        std::fs::create_dir(run.join("train")).unwrap();
        let mut csv = format!("{HEADER}\n");
        for step in 1..=300 {
            let loss = 2.0 + 6.0 / f64::from(step).sqrt();
            let valid = if step % 100 == 0 { format!("{:.4}", loss + 0.1) } else { String::new() };
            csv += &format!("{step},{},{}.5,0.001,{loss:.4},{valid}\n", step * 512, step);
        }
        std::fs::write(run.join("train/loss.csv"), csv).unwrap();
        for title in ["first", "a <second> & last"] {
            write(&run, title).unwrap();
        }
        let svg = std::fs::read_to_string(run.join("train/loss.svg")).unwrap();
        assert!(svg.contains("a &lt;second&gt; &amp; last") && svg.contains("nats per token"), "{svg}");
        assert!(svg.contains("validation"), "{svg}");
        let png = std::fs::read(run.join("train/loss.png")).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5000, "{} bytes", png.len());
        let left: Vec<_> = std::fs::read_dir(run.join("train")).unwrap().collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn a_run_without_a_log_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&RunFolder::new(folder.path()), "x").unwrap_err();
        assert!(format!("{error:#}").contains("loss.csv"), "{error:#}");
    }
}
