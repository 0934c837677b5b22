//! What the decoders must keep to for any input.

mod check;
mod columnar;
mod kinds;
mod properties;
