//! The messages and services of `proto/`, generated at build time. Only `forebay-rpc` uses them: wire types never
//! appear in another crate's signatures.

// What is generated follows the generator's style.
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all, clippy::clone_on_ref_ptr)]

macro_rules! package {
    ($($name:ident = $package:literal,)*) => {
        $(pub mod $name {
            pub mod v1 {
                tonic::include_proto!($package);
            }
        })*
    };
}

package! {
    common = "forebay.common.v1",
    enrichment = "forebay.enrichment.v1",
    gateway = "forebay.gateway.v1",
    storage = "forebay.storage.v1",
}

/// All files of `proto/`, encoded: for reflection, and to know which methods exist.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
