use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A way in which a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Status 429 with `Retry-After: 1`.
    TooMany,
    /// Status 503.
    ServerError,
    /// Status 200 with a page instead of JSON.
    Malformed,
    /// An answer that takes six seconds to come, in pieces.
    Slow,
    /// A connection that closes in the middle of the answer.
    Cut,
}

impl Fault {
    const NAMES: [(&'static str, Self); 5] = [
        ("429", Self::TooMany),
        ("5xx", Self::ServerError),
        ("malformed", Self::Malformed),
        ("slow", Self::Slow),
        ("cut", Self::Cut),
    ];

    /// Whether the n-th request fails, and how: the same for the same seed.
    pub(crate) fn draw(shares: &[FaultShare], seed: u64, request: u64) -> Option<Self> {
        let mut left = xxh3_64_with_seed(&request.to_le_bytes(), seed) as f64 / u64::MAX as f64;
        for share in shares {
            if left < share.share {
                return Some(share.fault);
            }
            left -= share.share;
        }
        None
    }
}

/// Which share of the requests fails in a way, written `KIND=SHARE`, as in `5xx=0.1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultShare {
    /// How they fail.
    pub fault: Fault,
    /// How many of them, from 0 to 1.
    pub share: f64,
}

/// A fault that is not written as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no fault: write KIND=SHARE with 429, 5xx, malformed, slow or cut, and a share from 0 to 1")]
pub struct FaultShareError(String);

impl FromStr for FaultShare {
    type Err = FaultShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FaultShareError(text.to_owned());
        let (kind, share) = text.split_once('=').ok_or_else(wrong)?;
        let (_, fault) = Fault::NAMES.into_iter().find(|(name, _)| *name == kind).ok_or_else(wrong)?;
        let share: f64 = share.parse().map_err(|_| wrong())?;
        if (0.0..=1.0).contains(&share) { Ok(Self { fault, share }) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_kept() {
        let shares: Vec<FaultShare> = ["5xx=0.2", "cut=0.1"].iter().map(|text| text.parse().unwrap()).collect();
        let drawn: Vec<_> = (0..10_000).map(|request| Fault::draw(&shares, 7, request)).collect();
        let count = |fault| drawn.iter().filter(|drawn| **drawn == fault).count();
        assert!((1800..2200).contains(&count(Some(Fault::ServerError))));
        assert!((800..1200).contains(&count(Some(Fault::Cut))));
        assert!((6700..7300).contains(&count(None)));
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for text in ["5xx", "6xx=0.1", "cut=2", "cut=x", "cut=-1"] {
            assert!(text.parse::<FaultShare>().is_err(), "{text}");
        }
    }
}
