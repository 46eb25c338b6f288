//! The learning rate over a run: a linear warm-up, then a cosine down to a share of its peak.

use super::settings::Settings;

/// The rate of update `step`, counted from 0.
pub fn rate(settings: &Settings, step: u64) -> f64 {
    let (step, warm_up) = (step as f64, settings.warm_up as f64);
    if step < warm_up {
        return settings.rate * (step + 1.0) / warm_up;
    }
    let done = ((step - warm_up) / (settings.steps as f64 - warm_up).max(1.0)).min(1.0);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
    settings.rate * (settings.last_rate + (1.0 - settings.last_rate) * cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_in_a_line_and_falls_in_a_cosine() {
        let settings = Settings { rate: 2.0, warm_up: 10, steps: 110, last_rate: 0.1, ..Settings::default() };
        assert_eq!(rate(&settings, 0), 0.2);
        assert_eq!(rate(&settings, 9), 2.0);
        assert_eq!(rate(&settings, 10), 2.0);
        assert!((rate(&settings, 60) - 2.0 * 0.55).abs() < 1e-12);
        assert!((rate(&settings, 110) - 0.2).abs() < 1e-12);
        assert!((rate(&settings, 9999) - 0.2).abs() < 1e-12);
    }
}
