//! What the service has done since boot.

use super::recent::Recent;

/// Counts and times. Times are of the last 256 requests, in nanoseconds.
#[derive(Clone, Default)]
pub struct Stats {
    /// Requests taken.
    pub submitted: u64,
    /// Requests refused: the queue or the client's part of it was full, or the prompt too long.
    pub rejected: u64,
    /// Requests that ended with a whole answer, or as long a one as was asked for.
    pub completed: u64,
    /// Requests that were cancelled.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were ended by their own deadline.
    pub deadlines_missed: u64,
    /// Requests in whose time a period had fewer tokens than promised.
    pub requests_with_misses: u64,
    /// Tokens of prompts read.
    pub prompt_tokens: u64,
    /// Tokens made.
    pub tokens: u64,
    /// Turns in which at least one token was made.
    pub steps: u64,
    /// Times that a request paused because its answer was not fetched.
    pub pauses: u64,
    /// Chunks of streams.
    pub stream_chunks: u64,
    /// Tokens in them.
    pub stream_chunk_tokens: u64,
    /// Chunks that graphs dropped at a full channel.
    pub graph_drops: u64,
    /// Budgets that the scheduler granted.
    pub admissions: u64,
    /// Budgets that it refused.
    pub refusals: u64,
    /// Promised tokens that were not made in their period: periods, since boot.
    pub period_misses: u64,
    /// From being taken to being started.
    pub queued: Recent,
    /// From being taken to the first token.
    pub first_token: Recent,
    /// From being taken to the end.
    pub total: Recent,
}
