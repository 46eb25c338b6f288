//! A share of a whole as a bar of a fixed width, in eighths of a cell.

use alloc::string::String;

const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// `share` (0 to 1, taken to the nearer end) of `width` cells, filled from the left.
pub(crate) fn bar(share: f64, width: usize) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    // At most 8 · width: fits.
    let eighths = (share * (width * 8) as f64 + 0.5) as usize;
    (0..width)
        .map(|cell| match eighths.saturating_sub(cell * 8) {
            0..8 => EIGHTHS[eighths.saturating_sub(cell * 8) % 8],
            _ => '█',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.0, 4), "    ");
        assert_eq!(bar(0.5, 4), "██  ");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.28125, 4), "█▏  ");
        assert_eq!([bar(-1.0, 2), bar(7.0, 2), bar(f64::NAN, 2), bar(0.5, 0)], ["  ", "██", "  ", ""]);
    }
}
