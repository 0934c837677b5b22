//! What one connection, one stream and one message may cost.
//!
//! Before a service sees anything, a connection can hold [`STREAM_LIMIT`] streams, each with a window of unread bytes
//! and one message that is being put together: `128 x (2 MiB + 4 MiB)` at worst, `128 x 4 MiB` with our own
//! clients. The connection's window is the sum of its streams' windows, so that streams that nobody reads never stop
//! one that is read: attempts that wait for the budget cannot block the attempt that will free it.

use std::time::Duration;

/// Largest message, either way.
pub const MESSAGE_LIMIT: usize = 4 << 20;

/// Largest frame of a submission. Larger frames are cut when sent, and refused when received.
pub const FRAME_LIMIT: usize = 1 << 20;

/// What a slice of a batch is meant to be at most, in memory; one row may be more.
pub const SLICE_TARGET: usize = 1 << 20;

/// Largest part of an Arrow message.
pub const PART_LIMIT: usize = 2 << 20;

/// Largest Arrow message, all parts together: a batch that must not be sliced, or one row.
pub const BATCH_LIMIT: usize = 32 << 20;

/// Most rows of a batch.
pub const ROW_LIMIT: usize = 8192;

/// Most tables of an attempt.
pub const TABLE_LIMIT: usize = 1024;

/// Longest raw record that travels with a reject. A longer one arrives as its place only.
pub const RAW_LIMIT: usize = 1 << 20;

/// Longest text of a reject or of a job's error; longer ones are cut.
pub const TEXT_LIMIT: usize = 64 << 10;

/// Longest message of an error; longer ones are cut. It travels in a header, twice, and a header list has 16 KiB.
pub const ERROR_LIMIT: usize = 2 << 10;

/// Streams that may be open on one connection.
pub const STREAM_LIMIT: u32 = 128;

/// Largest HTTP/2 frame: each costs the receiver a wake-up, and the standard's 16 KiB are made for web pages.
pub const WIRE_FRAME: u32 = 1 << 20;

/// Unread bytes of one stream: one message is read while the next one comes.
pub const STREAM_WINDOW: u32 = 2 << 20;

/// Unread bytes of one connection.
pub const CONNECTION_WINDOW: u32 = STREAM_LIMIT * STREAM_WINDOW;

/// How long a connection is silent before it is asked for a sign of life.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long it has for its answer.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
