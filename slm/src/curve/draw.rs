//! The picture: the training loss of the steps and its running mean, and the validation loss where it was measured.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, anyhow, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::Row;
use crate::table::grouped;

/// Width and height in pixels.
const SIZE: (u32, u32) = (960, 540);
/// The name under which the font is known to the drawing code and written into the SVG, where the reader's own takes over.
const FONT: &str = "sans-serif";
static FONT_BYTES: &[u8] = include_bytes!("../../assets/DejaVuSans-ascii.ttf");
/// More points than this on a line are not seen, and would only make the SVG large.
const POINTS: usize = 1200;
/// The running mean looks at this share of the steps.
const SMOOTHED: f64 = 0.02;

/// Someone who reads the picture in print sees these apart too: light, dark, and dots.
const RAW: RGBColor = RGBColor(190, 205, 225);
const TRAIN: RGBColor = RGBColor(31, 90, 160);
const VALID: RGBColor = RGBColor(200, 80, 20);

/// What is drawn: points are (step, loss).
pub struct Picture {
    title: String,
    raw: Vec<(f64, f64)>,
    smooth: Vec<(f64, f64)>,
    /// Steps that a point of `smooth` is the mean of.
    window: usize,
    valid: Vec<(f64, f64)>,
    steps: Range<f64>,
    losses: Range<f64>,
}

impl Picture {
    /// Chooses points and axes. Fails if no loss is finite.
    pub fn new(rows: &[Row], title: &str) -> Result<Self> {
        let finite = |points: &mut dyn Iterator<Item = (f64, f64)>| -> Vec<(f64, f64)> {
            points.filter(|(_, loss)| loss.is_finite()).collect()
        };
        let train = finite(&mut rows.iter().map(|row| (row.step as f64, row.train_loss)));
        let valid = finite(&mut rows.iter().filter_map(|row| Some((row.step as f64, row.valid_loss?))));
        ensure!(!train.is_empty(), "no step with a finite training loss; there is nothing to draw");

        // Odd, for there are as many steps on either side.
        let window = (train.len() as f64 * SMOOTHED) as usize | 1;
        let (raw, smooth) = (thinned(&train), thinned(&running_mean(&train, window)));
        // Of the losses that are drawn: thinned, a single wild batch does not squeeze the rest together.
        let shown = || raw.iter().chain(&smooth).chain(&valid);
        let lowest = shown().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let highest = shown().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        let margin = ((highest - lowest) * 0.05).max(1e-3);
        let last_step = shown().map(|p| p.0).fold(1.0, f64::max);

        let last = rows.last().map_or((0, 0.0), |row| (row.tokens, row.seconds));
        let time = match last.1 {
            seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
            seconds => format!("{:.1} h", seconds / 3600.0),
        };
        let title = format!("{title}: {} tokens in {time}", grouped(last.0));
        Ok(Picture {
            title,
            raw,
            smooth,
            window,
            valid,
            steps: 0.0..last_step,
            losses: lowest - margin..highest + margin,
        })
    }

    /// As SVG.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, SIZE).into_drawing_area())?;
        Ok(text)
    }

    /// Writes it as PNG to `file`, whose extension must be `png`.
    pub fn png(&self, file: &Path) -> Result<()> {
        self.draw(BitMapBackend::new(file, SIZE).into_drawing_area())
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        font()?;
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, (FONT, 20))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(self.steps.clone(), self.losses.clone())?;
        chart
            .configure_mesh()
            .x_desc("optimiser step")
            .y_desc("loss (nats per token)")
            .x_label_formatter(&|step| grouped(*step as u64))
            .y_label_formatter(&|loss| format!("{loss:.2}"))
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_desc_style((FONT, 16))
            .label_style((FONT, 14))
            .draw()?;

        chart.draw_series(LineSeries::new(self.raw.iter().copied(), RAW.stroke_width(1)))?;
        let smooth = LineSeries::new(self.smooth.iter().copied(), TRAIN.stroke_width(2));
        let label = match self.window {
            1 => "training".to_string(),
            n => format!("training, mean of {n} steps"),
        };
        chart
            .draw_series(smooth)?
            .label(label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], TRAIN.stroke_width(2)));
        if let Some((_, last)) = self.valid.last() {
            chart.draw_series(LineSeries::new(self.valid.iter().copied(), VALID.stroke_width(2)))?;
            let dots = self.valid.iter().map(|&point| Circle::new(point, 3, VALID.filled()));
            chart
                .draw_series(dots)?
                .label(format!("validation, last {last:.3} (perplexity {:.2})", last.exp()))
                .legend(|(x, y)| Circle::new((x + 9, y), 3, VALID.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font((FONT, 15))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// Makes the font known, once in the life of the program.
fn font() -> Result<()> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let known = KNOWN.get_or_init(|| register_font(FONT, FontStyle::Normal, FONT_BYTES).is_ok());
    if *known { Ok(()) } else { Err(anyhow!("the font in slm/assets cannot be read; build `slm` anew")) }
}

/// The mean of the `window` points around each; of fewer at the ends, as many on either side.
fn running_mean(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mut sums = Vec::with_capacity(points.len() + 1);
    sums.push(0.0);
    for (_, loss) in points {
        sums.push(sums[sums.len() - 1] + loss);
    }
    let mean = |at: usize| {
        let half = (window / 2).min(at).min(points.len() - 1 - at);
        (sums[at + half + 1] - sums[at - half]) / (2 * half + 1) as f64
    };
    points.iter().enumerate().map(|(at, (step, _))| (*step, mean(at))).collect()
}

/// At most [`POINTS`] points, each the mean of neighbours.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS).max(1);
    let mean = |group: &[(f64, f64)]| {
        let sum = group.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / group.len() as f64, sum.1 / group.len() as f64)
    };
    points.chunks(group).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, train_loss: f64, valid_loss: Option<f64>) -> Row {
        Row { step, tokens: step, seconds: 1.0, learning_rate: 0.1, train_loss, valid_loss }
    }

    #[test]
    fn one_step_and_steps_without_number_can_be_drawn() {
        let rows = [row(1, 3.0, None)];
        assert!(Picture::new(&rows, "one").unwrap().svg().unwrap().contains("one: 1 tokens"));
        let rows = [row(1, 3.0, Some(f64::NAN)), row(2, f64::INFINITY, None), row(3, 2.0, None)];
        let picture = Picture::new(&rows, "gap").unwrap();
        assert_eq!((picture.raw.len(), picture.valid.len()), (2, 0));
        assert!(picture.losses.start > 1.0 && picture.losses.end < 4.0);
        assert!(Picture::new(&[row(1, f64::NAN, None)], "x").is_err());
        assert!(Picture::new(&[], "x").is_err());
    }

    #[test]
    fn long_logs_are_thinned_and_smoothed() {
        let rows: Vec<Row> =
            (0..100_000).map(|i| row(i, 2.0 + if i % 2 == 0 { 1.0 } else { -1.0 }, None)).collect();
        let picture = Picture::new(&rows, "long").unwrap();
        assert!(picture.raw.len() <= POINTS && picture.smooth.len() <= POINTS);
        assert_eq!(picture.window, 2001);
        assert!(picture.smooth[POINTS / 3].1 - 2.0 < 0.01);
        assert!(picture.svg().unwrap().len() < 200_000);
    }

    #[test]
    fn a_running_mean_stays_inside_and_keeps_a_straight_line() {
        let line: Vec<(f64, f64)> = (0..20).map(|i| (f64::from(i), f64::from(i))).collect();
        for (got, wanted) in running_mean(&line, 5).iter().zip(&line) {
            assert!((got.1 - wanted.1).abs() < 1e-12);
        }
    }
}
