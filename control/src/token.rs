//! Capability tokens: who holds the number may do what its upper byte says.

use core::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Rights = Rights(0);
    /// Everything: load models, change budgets, and all that [`Rights::SUBMIT`] allows.
    pub const ADMIN: Rights = Rights(1);
    /// Ask the model.
    pub const SUBMIT: Rights = Rights(2);

    /// Both sets together.
    pub const fn and(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    pub(crate) const fn from_bits(bits: u8) -> Rights {
        Rights(bits)
    }

    /// Whether every right of `needed` is here; ADMIN includes every other.
    pub const fn allow(self, needed: Rights) -> bool {
        self.0 & Self::ADMIN.0 != 0 || self.0 & needed.0 == needed.0
    }
}

/// A capability: the upper 8 bits are the rights (bit 0 ADMIN, bit 1 SUBMIT), the lower 56 a secret.
///
/// Comparison is in constant time and there is no `Display`: only [`Token::reveal`] prints it.
#[derive(Clone, Copy)]
pub struct Token(u64);

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a token is 16 hexadecimal digits, as the kernel's console shows it")]
pub struct NotAToken;

impl Token {
    /// A new token from 56 bits of a random source; the upper byte of `random` is not used.
    pub const fn new(rights: Rights, random: u64) -> Token {
        Token((rights.0 as u64) << 56 | random & ((1 << 56) - 1))
    }

    /// A token as it came over the wire.
    pub const fn from_bits(bits: u64) -> Token {
        Token(bits)
    }

    /// The token for the wire.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The rights that it claims. Whether the claim is true, only [`crate::Authority`] can say.
    pub const fn claimed(self) -> Rights {
        Rights::from_bits((self.0 >> 56) as u8)
    }

    /// Reads 16 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Token, NotAToken> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotAToken);
        }
        u64::from_str_radix(text, 16).map(Token).map_err(|_| NotAToken)
    }

    /// The token as 16 hexadecimal digits, for the one place that shows it to its owner.
    pub fn reveal(self) -> impl fmt::Display {
        struct Revealed(u64);
        impl fmt::Display for Revealed {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
        Revealed(self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn administrators_may_do_everything() {
        assert!(Rights::ADMIN.allow(Rights::SUBMIT) && Rights::ADMIN.allow(Rights::ADMIN));
        assert!(Rights::SUBMIT.allow(Rights::SUBMIT) && !Rights::SUBMIT.allow(Rights::ADMIN));
        assert!(!Rights::NONE.allow(Rights::SUBMIT));
    }

    #[test]
    fn tokens_are_printed_only_on_purpose() {
        let token = Token::new(Rights::ADMIN.and(Rights::SUBMIT), u64::MAX);
        assert_eq!(format!("{}", token.reveal()), "03ffffffffffffff");
        assert_eq!(Token::parse("03ffffffffffffff"), Ok(token));
        assert!(!format!("{token:?}").contains("fff"));
        for bad in ["", "3", "+3ffffffffffffff", "03fffffffffffffg", "03ffffffffffffff0"] {
            assert_eq!(Token::parse(bad), Err(NotAToken));
        }
    }
}
