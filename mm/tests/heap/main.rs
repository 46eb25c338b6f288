//! The heap on real memory: every live allocation keeps the bytes that were written to it, whatever happens to the others.

mod bytes;
mod caches;
mod given_back;
mod live;
mod refusals;
mod sources;
