//! The framer against its rules, and against scanners that are slow and plain.

mod properties;
mod reference;
mod rules;
