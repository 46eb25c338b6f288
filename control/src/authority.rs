//! Which tokens are good: the tokens given out, and what guessing costs.
//!
//! A presented token is compared with every slot, filled or not, in constant time. Wrong ones lock the client out
//! for longer and longer; a second, laxer count over all clients keeps many ports from being many tries. It holds up only
//! those whose last token was wrong: nobody locks out a neighbour who behaves. While a client is locked out its tokens
//! are refused without a look, the right one too, so the lock-out tells nothing.
//! The console does not come this way: [`Authority::rotate`] and [`Authority::current`] always work.

use core::fmt;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

use crate::lockout::Lockout;
use crate::token::{Rights, Token};

/// Tokens of one kind that may live at a time, besides the main one.
pub const EMBEDDED: usize = 7;
/// Clients whose failures are counted apart; those numbered higher share counts.
pub const CLIENTS: usize = 32;
/// Wrong tokens in a row from one client, of which the last locks it out.
pub const CLIENT_FAILURES: u32 = 5;
/// Wrong tokens from all clients together, of which the last locks out every client whose last token was wrong. A right
/// token does not undo them: only [`FORGET_NS`] does.
pub const ALL_FAILURES: u32 = 20;
/// After this time one failure of all clients together is forgotten.
pub const FORGET_NS: u64 = 10_000_000_000;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Rights::ADMIN`].
    Admin,
    /// [`Rights::SUBMIT`].
    Submit,
}

impl Kind {
    /// The rights of its tokens.
    pub const fn rights(self) -> Rights {
        match self {
            Kind::Admin => Rights::ADMIN,
            Kind::Submit => Rights::SUBMIT,
        }
    }
}

/// Why a presented token does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denial {
    /// Nobody's token.
    #[error("the token is unknown; `ctlkey` on the kernel's console shows the right one")]
    Wrong,
    /// It was good until its kind was rotated.
    #[error("the token was replaced by a newer one; `ctlkey` on the kernel's console shows it")]
    Expired,
    /// A good token, but not for this.
    #[error("the token is good but its rights do not suffice; this needs an ADMIN token")]
    Weak,
    /// Too many wrong tokens before.
    #[error("too many wrong tokens: no token is looked at for another {retry_after_ms} ms")]
    LockedOut {
        /// Milliseconds until the next try is looked at.
        retry_after_ms: u32,
    },
}

/// A token that cannot be made; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The number is zero or was used before.
    #[error("the random source gave a number that is zero or was used before; no token was made of it")]
    NotRandom,
    /// All slots are taken.
    #[error("{EMBEDDED} embedded tokens of this kind are given out already; rotating the kind ends them")]
    TooMany,
}

/// One kind's tokens, main one first; 0 is an empty slot.
type Slots = [u64; 1 + EMBEDDED];

#[derive(Default)]
struct Keys {
    current: Slots,
    /// Those before the last rotation: known, so that their holders are told.
    expired: Slots,
}

/// The tokens given out, shared by all sessions. Rotation overwrites the secrets before the last.
#[derive(Default)]
pub struct Authority {
    admin: Keys,
    submit: Keys,
    clients: [Lockout; CLIENTS],
    all: Lockout,
}

impl Authority {
    /// Nobody has a token yet.
    pub const fn new() -> Self {
        const NONE: Keys = Keys { current: [0; 1 + EMBEDDED], expired: [0; 1 + EMBEDDED] };
        Authority { admin: NONE, submit: NONE, clients: [Lockout::new(); CLIENTS], all: Lockout::new() }
    }

    /// Replaces the main token of a kind and ends its embedded ones. `random`: 56 bits of a random source.
    pub fn rotate(&mut self, kind: Kind, random: u64) -> Result<Token, KeyError> {
        let token = self.fresh(kind, random)?;
        let keys = self.keys_mut(kind);
        keys.expired = keys.current;
        keys.current = [0; 1 + EMBEDDED];
        keys.current[0] = token.to_bits();
        Ok(token)
    }

    /// Gives out a further token of a kind, to be built into a program; it ends when its kind is rotated.
    pub fn embed(&mut self, kind: Kind, random: u64) -> Result<Token, KeyError> {
        let token = self.fresh(kind, random)?;
        let [_, embedded @ ..] = &mut self.keys_mut(kind).current;
        let slot = embedded.iter_mut().find(|slot| **slot == 0).ok_or(KeyError::TooMany)?;
        *slot = token.to_bits();
        Ok(token)
    }

    /// The main token of a kind, for the console.
    pub fn current(&self, kind: Kind) -> Option<Token> {
        let keys = match kind {
            Kind::Admin => &self.admin,
            Kind::Submit => &self.submit,
        };
        Some(keys.current[0]).filter(|bits| *bits != 0).map(Token::from_bits)
    }

    /// Whether `client`, who presents this token at `now_ns`, may do what needs these rights; what else it may.
    pub fn check(
        &mut self,
        presented: Token,
        needed: Rights,
        now_ns: u64,
        client: u32,
    ) -> Result<Rights, Denial> {
        self.all.forget(now_ns, FORGET_NS);
        let client = &mut self.clients[client as usize % CLIENTS];
        let all_left = if client.has_failed() { self.all.left(now_ns) } else { 0 };
        let left = client.left(now_ns).max(all_left);
        if left > 0 {
            let retry_after_ms = u32::try_from(left.div_ceil(1_000_000)).unwrap_or(u32::MAX);
            return Err(Denial::LockedOut { retry_after_ms });
        }
        let current = rights(presented, [&self.admin.current, &self.submit.current]);
        let expired = rights(presented, [&self.admin.expired, &self.submit.expired]);
        if current == Rights::NONE {
            client.failed(now_ns, CLIENT_FAILURES);
            self.all.failed(now_ns, ALL_FAILURES);
            return Err(if expired == Rights::NONE { Denial::Wrong } else { Denial::Expired });
        }
        if !current.allow(needed) {
            return Err(Denial::Weak);
        }
        *client = Lockout::new();
        Ok(current)
    }

    fn keys_mut(&mut self, kind: Kind) -> &mut Keys {
        match kind {
            Kind::Admin => &mut self.admin,
            Kind::Submit => &mut self.submit,
        }
    }

    /// A token that was never given out, as far as is known.
    fn fresh(&self, kind: Kind, random: u64) -> Result<Token, KeyError> {
        let token = Token::new(kind.rights(), random);
        let Keys { current, expired } = match kind {
            Kind::Admin => &self.admin,
            Kind::Submit => &self.submit,
        };
        let used = current.contains(&token.to_bits()) || expired.contains(&token.to_bits());
        if used || token == Token::new(kind.rights(), 0) { Err(KeyError::NotRandom) } else { Ok(token) }
    }
}

/// The rights of the key that equals `presented`. Takes the same time whichever it is, if any.
fn rights(presented: Token, keys: [&Slots; 2]) -> Rights {
    let presented = presented.to_bits();
    let mut found = 0;
    for key in keys.into_iter().flatten() {
        // An empty slot is 0 and has no rights to give.
        found.conditional_assign(&((key >> 56) as u8), key.ct_eq(&presented));
    }
    Rights::from_bits(found)
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockout::LONGEST;
    use alloc::format;

    const SECOND: u64 = 1_000_000_000;

    fn authority() -> (Authority, Token, Token) {
        let mut authority = Authority::new();
        let admin = authority.rotate(Kind::Admin, 0x1234_5678).unwrap();
        let submit = authority.rotate(Kind::Submit, 0x9abc_def0).unwrap();
        (authority, admin, submit)
    }

    #[test]
    fn a_token_allows_what_it_was_given_out_for() {
        let (mut authority, admin, submit) = authority();
        let mut check = |token, needed| authority.check(token, needed, 0, 0);
        assert_eq!(check(admin, Rights::ADMIN), Ok(Rights::ADMIN));
        assert_eq!(check(admin, Rights::SUBMIT), Ok(Rights::ADMIN));
        assert_eq!(check(submit, Rights::SUBMIT), Ok(Rights::SUBMIT));
        assert_eq!(check(submit, Rights::ADMIN), Err(Denial::Weak));
        // The submit secret under a forged rights byte is nobody's token, and neither is an empty slot.
        assert_eq!(check(Token::new(Rights::ADMIN, 0x9abc_def0), Rights::SUBMIT), Err(Denial::Wrong));
        assert_eq!(check(Token::from_bits(0), Rights::SUBMIT), Err(Denial::Wrong));
        assert_eq!(Authority::new().check(Token::from_bits(0), Rights::NONE, 0, 0), Err(Denial::Wrong));
    }

    #[test]
    fn rotation_ends_a_kinds_tokens_and_no_others() {
        let (mut authority, admin, submit) = authority();
        let embedded = authority.embed(Kind::Submit, 77).unwrap();
        assert_eq!(authority.check(embedded, Rights::SUBMIT, 0, 0), Ok(Rights::SUBMIT));
        let new = authority.rotate(Kind::Submit, 78).unwrap();
        assert_eq!(authority.current(Kind::Submit), Some(new));
        for old in [submit, embedded] {
            assert_eq!(authority.check(old, Rights::SUBMIT, 0, 0), Err(Denial::Expired));
        }
        for good in [admin, new] {
            assert!(authority.check(good, Rights::SUBMIT, 0, 0).is_ok());
        }
        // Two rotations later nothing is left of it.
        authority.rotate(Kind::Submit, 79).unwrap();
        assert_eq!(authority.check(submit, Rights::SUBMIT, 0, 0), Err(Denial::Wrong));
    }

    #[test]
    fn what_is_not_random_or_too_much_changes_nothing() {
        let (mut authority, _, submit) = authority();
        for random in [0, 0xff << 56, 0x9abc_def0] {
            assert_eq!(authority.rotate(Kind::Submit, random), Err(KeyError::NotRandom));
        }
        for random in 1..=EMBEDDED as u64 {
            authority.embed(Kind::Submit, random).unwrap();
        }
        assert_eq!(authority.embed(Kind::Submit, 100), Err(KeyError::TooMany));
        assert_eq!(authority.current(Kind::Submit), Some(submit));
        assert!(authority.check(submit, Rights::SUBMIT, 0, 0).is_ok());
    }

    #[test]
    fn who_guesses_waits_longer_and_longer_and_the_right_token_waits_too() {
        let (mut authority, admin, _) = authority();
        let wrong = Token::new(Rights::ADMIN, 1);
        let mut now = 0;
        for second in [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(authority.check(wrong, Rights::ADMIN, now, 3), Err(Denial::Wrong));
            if second > 0 {
                let locked = authority.check(admin, Rights::ADMIN, now, 3);
                assert_eq!(locked, Err(Denial::LockedOut { retry_after_ms: second * 1000 }));
                let before = now + u64::from(second) * SECOND - 1;
                let locked = authority.check(admin, Rights::ADMIN, before, 3);
                assert_eq!(locked, Err(Denial::LockedOut { retry_after_ms: 1 }));
            }
            now += u64::from(second) * SECOND;
        }
        // Others were not held up; in the end the right token opens, and all is forgiven.
        assert!(authority.check(admin, Rights::ADMIN, now - 1, 4).is_ok());
        assert!(authority.check(admin, Rights::ADMIN, now, 3).is_ok());
        assert_eq!(authority.check(wrong, Rights::ADMIN, now, 3), Err(Denial::Wrong));
        assert!(authority.check(admin, Rights::ADMIN, now, 3).is_ok());
    }

    #[test]
    fn many_clients_are_not_many_tries() {
        let (mut authority, admin, _) = authority();
        let (mut compared, hour) = (0, 3600);
        for tick in 0..hour * 10 {
            let now = tick * SECOND / 10;
            for client in 0..CLIENTS as u32 {
                let answer = authority.check(Token::new(Rights::ADMIN, 1), Rights::ADMIN, now, client);
                compared += u64::from(answer == Err(Denial::Wrong));
            }
        }
        // Each client's first, twenty at once; later about one for each that is forgotten.
        let at_once = u64::from(ALL_FAILURES) + CLIENTS as u64;
        assert!(compared <= at_once + hour * SECOND / FORGET_NS + 10, "{compared}");
        assert!(authority.check(admin, Rights::ADMIN, hour * SECOND + LONGEST, 0).is_ok());
    }

    #[test]
    fn whoever_behaves_is_not_locked_out_by_others() {
        let (mut authority, admin, submit) = authority();
        assert!(authority.check(submit, Rights::SUBMIT, 0, 9).is_ok());
        for client in 0..8 {
            (0..4).for_each(|_| {
                let _ = authority.check(Token::new(Rights::ADMIN, 1), Rights::ADMIN, 0, client);
            });
        }
        assert!(matches!(authority.check(admin, Rights::ADMIN, 0, 7), Err(Denial::LockedOut { .. })));
        assert!(authority.check(submit, Rights::SUBMIT, 0, 9).is_ok());
        // From its first wrong token on it is treated as the others are.
        assert_eq!(authority.check(Token::new(Rights::ADMIN, 1), Rights::ADMIN, 0, 9), Err(Denial::Wrong));
        assert!(matches!(authority.check(submit, Rights::SUBMIT, 0, 9), Err(Denial::LockedOut { .. })));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let (authority, ..) = authority();
        assert_eq!(format!("{authority:?}"), "Authority(secret)");
    }
}
