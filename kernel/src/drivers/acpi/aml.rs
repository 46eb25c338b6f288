//! The one thing that switching off needs from AML: the package `\_S5` (ACPI 6.5, 7.4.2 and 20.2).
//!
//! This is a scanner, not an interpreter: it looks for a `Name` declaration of `_S5_` with a package of integer
//! constants, which is how every known firmware writes it. Code that computes the package is not understood.

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;

/// The values for SLP_TYP of PM1a and PM1b that mean S5, or `None` if `aml` does not declare them.
pub fn sleep_types(aml: &[u8]) -> Option<[u8; 2]> {
    aml.windows(4).enumerate().filter(|(_, name)| name == b"_S5_").find_map(|(at, _)| {
        // `Name (_S5_` or `Name (\_S5_`.
        let declared = matches!(aml.get(..at)?, [.., NAME_OP] | [.., NAME_OP, b'\\']);
        if declared { package(aml.get(at + 4..)?) } else { None }
    })
}

/// The first two integers of a package.
fn package(aml: &[u8]) -> Option<[u8; 2]> {
    let aml = aml.strip_prefix(&[PACKAGE_OP])?;
    // Package length: the top two bits of the first byte say how many bytes follow.
    let extra = usize::from(aml.first()? >> 6);
    let (&elements, aml) = aml.get(1 + extra..)?.split_first()?;
    let (first, aml) = integer(aml)?;
    if elements < 2 {
        return Some([first, first]);
    }
    let (second, _) = integer(aml)?;
    Some([first, second])
}

/// An integer constant that is a sleep type (three bits), and what follows it.
fn integer(aml: &[u8]) -> Option<(u8, &[u8])> {
    let (value, rest) = match aml {
        [0x00, rest @ ..] => (0, rest),
        [0x01, rest @ ..] => (1, rest),
        [0x0a, value, rest @ ..] => (*value, rest),
        // Wider constants: the value must still fit.
        [0x0b, value, 0, rest @ ..] => (*value, rest),
        [0x0c, value, 0, 0, 0, rest @ ..] => (*value, rest),
        _ => return None,
    };
    (value < 8).then_some((value, rest))
}
