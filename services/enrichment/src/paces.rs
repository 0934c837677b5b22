//! At which pace each upstream is asked, whoever wants something of it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pace::Pace;

/// Hosts that answer everybody, and the requests a second that are no burden to them.
const PUBLIC: [(&str, f64); 2] = [("npiregistry.cms.hhs.gov", 4.0), ("geocoding.geo.census.gov", 4.0)];

/// Most requests a second that a service sends to an upstream, whatever recipes say: `HOST=RATE` or `HOST:PORT=RATE`,
/// separated by commas. Of an upstream that is not named, it is the highest rate that somebody asks with at the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamRates(BTreeMap<String, f64>);

/// A rate of an upstream that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no rate of an upstream: write HOST=REQUESTS or HOST:PORT=REQUESTS a second, above 0, as api.example.org=4"
)]
pub struct UpstreamRatesError(String);

impl FromStr for UpstreamRates {
    type Err = UpstreamRatesError;

    fn from_str(text: &str) -> Result<Self, UpstreamRatesError> {
        let rate = |text: &str| {
            let (host, rate) = text.split_once('=')?;
            let rate = rate.trim().parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= 100_000.0)?;
            Some((host.trim().to_ascii_lowercase(), rate)).filter(|(host, _)| !host.is_empty())
        };
        let named = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let rates = named.map(|text| rate(text).ok_or_else(|| UpstreamRatesError(text.to_owned())));
        Ok(Self(rates.collect::<Result<_, _>>()?))
    }
}

impl UpstreamRates {
    /// With those of public registries that are not named: where several parties set rates, none may set these higher.
    #[must_use]
    pub fn with_public(mut self) -> Self {
        for (host, rate) in PUBLIC {
            if !self
                .0
                .keys()
                .any(|named| named == host || named.strip_prefix(host).is_some_and(|port| port.starts_with(':')))
            {
                self.0.insert(host.to_owned(), rate);
            }
        }
        self
    }

    /// The rate of an address, which is a host and a port.
    fn of(&self, address: &str) -> Option<f64> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        self.0.get(address).or_else(|| self.0.get(host)).copied()
    }
}

/// A pace, and how its rate is set.
pub(crate) type NewPace = (Arc<Pace>, Box<dyn Fn(f64) + Send + Sync>);

/// Paces that are known before those are forgotten that nobody uses.
const MANY: usize = 256;

/// The paces by what they are called, the same in all replicas: an address, or, for those who may want less than it
/// bears, the address and their rate.
#[derive(Default)]
pub(crate) struct Paces {
    rates: UpstreamRates,
    known: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    pace: Arc<Pace>,
    /// The rates of those who ask just now.
    asked: Vec<f64>,
    set_rate: Box<dyn Fn(f64) + Send + Sync>,
}

/// Keeps a rate while it lives.
pub(crate) struct Keeping {
    paces: Arc<Paces>,
    name: String,
    rate: f64,
    limit: Option<f64>,
}

impl Paces {
    pub(crate) fn new(rates: UpstreamRates) -> Arc<Self> {
        Arc::new(Self { rates, known: Mutex::default() })
    }

    /// The paces that somebody has to keep to who asks an address at a rate: the address' own, and before it, unless the
    /// service never lets that be higher, one for those who want no more than they said. So nobody slows anybody else,
    /// nobody is sped up by who asks for more, and nobody can go faster than the service lets all of them together. New
    /// ones are made by `make`, of a name and a rate.
    pub(crate) fn keep(
        self: &Arc<Self>,
        address: &str,
        rate: f64,
        make: impl Fn(&str, f64) -> NewPace,
    ) -> Vec<(Arc<Pace>, Keeping)> {
        let limit = self.rates.of(address);
        let everybodys = self.keep_one(address, rate, limit, &make);
        if limit.is_some_and(|limit| rate >= limit) {
            return vec![everybodys];
        }
        vec![self.keep_one(&format!("{address}/{rate}"), rate, None, &make), everybodys]
    }

    fn keep_one(
        self: &Arc<Self>,
        name: &str,
        rate: f64,
        limit: Option<f64>,
        make: &impl Fn(&str, f64) -> NewPace,
    ) -> (Arc<Pace>, Keeping) {
        let mut all = self.known();
        if all.len() >= MANY && !all.contains_key(name) {
            all.retain(|_, known| !known.asked.is_empty() || !known.pace.is_forgettable());
        }
        let known = all.entry(name.to_owned()).or_insert_with(|| {
            let (pace, set_rate) = make(name, limit.unwrap_or(rate));
            Known { pace, asked: Vec::new(), set_rate }
        });
        known.asked.push(rate);
        known.adapt(limit);
        (Arc::clone(&known.pace), Keeping { paces: Arc::clone(self), name: name.to_owned(), rate, limit })
    }

    /// Requests a second that may be sent now, over all addresses that somebody asks.
    pub(crate) fn rate(&self) -> f64 {
        let known = self.known();
        let addresses = known.iter().filter(|(name, known)| !name.contains('/') && !known.asked.is_empty());
        addresses.map(|(_, known)| known.pace.rate()).sum()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Sets the rate: the service's, or else the highest that somebody asks with. The last one's stays: the next is
    /// likely to want the same.
    fn adapt(&self, limit: Option<f64>) {
        if let Some(rate) = limit.or_else(|| self.asked.iter().copied().max_by(f64::total_cmp)) {
            (self.set_rate)(rate);
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let mut all = self.paces.known();
        if let Some(known) = all.get_mut(&self.name) {
            if let Some(place) = known.asked.iter().position(|rate| *rate == self.rate) {
                known.asked.swap_remove(place);
            }
            known.adapt(self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pace::Share;

    fn make(_: &str, rate: f64) -> NewPace {
        let pace = Pace::new(Share::whole(rate), Duration::ZERO);
        let set = Arc::clone(&pace);
        (pace, Box::new(move |rate| set.set_share(Share::whole(rate))))
    }

    fn slots(kept: &[(Arc<Pace>, Keeping)]) -> Vec<i64> {
        kept.iter().map(|(pace, _)| (pace.rate() * 1.02).round() as i64).collect()
    }

    #[test]
    fn the_services_own_rate_is_the_ceiling_for_all_and_less_holds_for_oneself() {
        let paces = Paces::new("api.example.org=20".parse().unwrap());
        let keep = |rate| paces.keep("api.example.org:443", rate, make);
        let (fast, modest, slow) = (keep(1_000.0), keep(20.0), keep(2.0));
        assert_eq!([slots(&fast), slots(&modest), slots(&slow)], [vec![20], vec![20], vec![2, 20]]);
        assert!(Arc::ptr_eq(&fast[0].0, &slow[1].0));
        drop((fast, modest));
        assert_eq!(slots(&slow), [2, 20]);
    }

    #[test]
    fn ones_own_rate_stays_when_another_call_with_it_ends() {
        let paces = Paces::new("api.example.org=20".parse().unwrap());
        let keep = || paces.keep("api.example.org:443", 2.0, make);
        let (one, other) = (keep(), keep());
        drop(one);
        assert_eq!(slots(&other), [2, 20]);
    }

    #[test]
    fn without_a_rate_of_the_service_the_highest_is_the_ceiling() {
        let paces = Paces::new(UpstreamRates::default());
        let slow = paces.keep("a:80", 5.0, make);
        assert_eq!(slots(&slow), [5, 5]);
        // Who comes later and wants more speeds up nobody else.
        let fast = paces.keep("a:80", 50.0, make);
        assert_eq!((slots(&fast), slots(&slow)), (vec![50, 50], vec![5, 50]));
        drop(fast);
        assert_eq!((slots(&slow), slots(&paces.keep("b:80", 7.0, make))), (vec![5, 5], vec![7, 7]));
    }

    #[test]
    fn paces_that_nobody_uses_are_forgotten_when_there_are_many() {
        let paces = Paces::new(UpstreamRates::default());
        let (used, paused) = (paces.keep("used:80", 5.0, make), paces.keep("paused:80", 5.0, make));
        paused[1].0.pause(Duration::from_secs(60));
        drop(paused);
        for rate in 1..=2 * MANY {
            drop(paces.keep("a:80", rate as f64, make));
        }
        let known = paces.known();
        assert!(known.len() <= MANY, "{}", known.len());
        assert!(Arc::ptr_eq(&known["used:80"].pace, &used[1].0) && known.contains_key("paused:80"));
    }

    #[test]
    fn rates_are_named_by_host_with_or_without_a_port() {
        let rates: UpstreamRates = " A.example.org = 2.5 ,b:8080=7,".parse().unwrap();
        assert_eq!([rates.of("a.example.org:443"), rates.of("b:8080"), rates.of("b:80")], [Some(2.5), Some(7.0), None]);
        assert_eq!(rates.with_public().of("npiregistry.cms.hhs.gov:443"), Some(4.0));
        let own: UpstreamRates = "npiregistry.cms.hhs.gov=9".parse().unwrap();
        assert_eq!(own.with_public().of("npiregistry.cms.hhs.gov:443"), Some(9.0));
        for bad in ["a", "a=", "=4", "a=0", "a=-1", "a=x"] {
            assert!(bad.parse::<UpstreamRates>().is_err(), "{bad}");
        }
    }
}
