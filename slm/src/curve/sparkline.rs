//! A curve in one line of a terminal.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// `values` as at most `width` block characters, each the mean of an equal share of them; the lowest of the means is `▁`, the
/// highest `█`. A share without a finite value is a blank, and values that are all alike are a line at half height.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let columns = values.len().min(width);
    let means: Vec<Option<f64>> = (0..columns)
        .map(|column| {
            let (from, to) = (column * values.len() / columns, (column + 1) * values.len() / columns);
            let finite: Vec<f64> = values[from..to].iter().copied().filter(|v| v.is_finite()).collect();
            (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
        })
        .collect();
    let lowest = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let highest = means.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let block = |mean: f64| {
        let height = if highest > lowest { (mean - lowest) / (highest - lowest) } else { 0.5 };
        // Rounded to the nearest of the eight; a float goes to the nearest whole number that is there.
        BLOCKS[((height * 7.0).round() as usize).min(7)]
    };
    means.into_iter().map(|mean| mean.map_or(' ', block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_seen() {
        assert_eq!(sparkline(&[8.0, 4.0, 2.0, 1.0], 60), "█▄▂▁");
        let falling: Vec<f64> = (0..1000).map(|i| f64::from(1000 - i)).collect();
        assert_eq!(sparkline(&falling, 8), "█▇▆▅▄▃▂▁");
        assert_eq!(sparkline(&falling, 60).chars().count(), 60);
    }

    #[test]
    fn odd_values_do_no_harm() {
        assert_eq!(sparkline(&[], 60), "");
        assert_eq!(sparkline(&[1.0, 2.0], 0), "");
        assert_eq!(sparkline(&[f64::NAN, f64::INFINITY], 60), "  ");
        assert_eq!(sparkline(&[3.0, f64::NAN, 3.0], 60), "▅ ▅");
        assert_eq!(sparkline(&[f64::MAX, f64::MIN], 60).chars().count(), 2);
    }
}
