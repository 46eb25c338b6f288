//! A row of values as a row of bars.

use core::fmt;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Values drawn as one character each, scaled between the least and the greatest of them.
/// What is not a finite number is a gap.
///
/// ```
/// use ai_insights::metrics::Sparkline;
/// assert_eq!(Sparkline([0.0, 1.0, f64::NAN, 4.0, 7.0]).to_string(), "▁▂ ▅█");
/// ```
#[derive(Debug, Clone)]
pub struct Sparkline<I>(pub I);

impl<I: IntoIterator<Item = f64> + Clone> fmt::Display for Sparkline<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finite = || self.0.clone().into_iter().filter(|v| v.is_finite());
        let least = finite().fold(f64::INFINITY, f64::min);
        let span = finite().fold(f64::NEG_INFINITY, f64::max) - least;
        for value in self.0.clone() {
            let share = if span > 0.0 { (value - least) / span } else { 0.5 };
            let bar = if value.is_finite() { BARS.get((share * 7.0 + 0.5) as usize) } else { None };
            write!(f, "{}", bar.unwrap_or(&' '))?;
        }
        Ok(())
    }
}
