//! The service traits of `forebay-api` across gRPC: the only crate that knows wire types.
//!
//! [`client`] holds one implementation of each trait over a channel; [`server`] holds the adapters from a trait to a
//! gRPC service. `tests/conformance` runs one suite against a service directly and through both, so that a caller
//! cannot tell which it has: same items in the same order, same error kind, reason and delay, same backpressure.
//!
//! What holds on every path:
//! - Streams are pulled. Between a producer and a slow consumer lie one HTTP/2 window and a few messages ([`limits`]).
//! - No message is larger than [`limits::MESSAGE_LIMIT`]. Batches are cut into slices and those into parts; what
//!   cannot be cut is refused by the side that would send it, with a stable reason.
//! - A request stream says how it ends. A caller that fails sends its error; a caller that goes away is an error
//!   `CALLER_GONE`, never a clean end.
//! - Dropping a response stream, or the future of a call, cancels the other side.
//!
//! - A server knows who calls, and whether there is room for the call, before it reads its body ([`security`]).
//! - A client that does nothing costs one connection or one call, for a bounded time ([`server::ServerLimits`]).
//! - A call carries the trace that it is made in.
//!
//! There are no retries, client deadlines or load balancing here; callers know what may be repeated.

pub mod client;
mod convert;
pub mod limits;
pub mod security;
pub mod server;
mod status;
