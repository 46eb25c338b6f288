//! Tests that the kernel can run on itself.

use alloc::string::String;
use thiserror::Error;

/// A test that the kernel can run on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Its name: one word.
    pub name: &'static str,
    /// What it checks, in one line.
    pub summary: &'static str,
    /// Whether it ends the machine (a deliberate fault); such tests run only when named.
    pub fatal: bool,
}

/// Why a self test did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelfTestError {
    /// The kernel has no such test.
    #[error("this kernel has no self test `{0}`; `selftest` lists them")]
    Unknown(String),
    /// What was wrong.
    #[error("{0}")]
    Failed(String),
}
