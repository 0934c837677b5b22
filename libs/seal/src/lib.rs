//! Encryption of what waits on a disk or in a bucket before it is redacted: staged chunks, and the raw text of rejects.
//!
//! Each sealed object has a data key of its own, wrapped by a key that a person keeps ([`Keys`]). Its bytes are cut
//! into frames, each encrypted by AES-256-GCM with its number and whether it is the last: the STREAM construction. So
//! an object is read in bounded memory, and one that was cut off, or whose frames were exchanged, repeated or
//! changed, is not read at all. The context, which says what the object is, is authenticated and not stored: what was
//! sealed as one thing can't be put in another's place.
//! Source: Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
//! Misuse-Resistance", 2015, section 7.
//!
//! No key is ever shown, logged or stored in what is sealed: only its id.

mod cipher;
mod error;
mod keys;
mod ring;
mod stream;

pub use cipher::{FRAME_BYTES, Opener, Sealer, is_sealed};
pub use error::SealError;
pub use keys::{Keys, home};
pub use ring::{KeyId, Keyring};
pub use stream::open_stream;

/// What an encrypted input is sealed as.
pub const INPUT: &str = "input";

/// What the raw text of a reject is sealed as.
pub fn reject(job: &str, input: &str, record: u64) -> String {
    format!("the reject of record {record} of {input} in job {job}")
}
