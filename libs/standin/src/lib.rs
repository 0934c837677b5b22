//! A stand-in for the NPI registry.
