//! Where an export goes that the host can read.

use alloc::string::String;
use alloc::vec::Vec;
use shell::Exported;

/// Writes a text to every place that this machine has. One line for each, what was written or why not.
pub fn export(text: &str) -> Vec<Exported> {
    let _ = text;
    Vec::from([Exported {
        place: String::from("host region"),
        result: Err(String::from("this machine has none")),
    }])
}
