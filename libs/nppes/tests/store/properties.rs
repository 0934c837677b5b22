//! What holds of any files.

use std::collections::HashMap;

use forebay_nppes::{Entry, Sources, Store};
use proptest::prelude::*;

use crate::{Folder, deactivations, registry, update};

/// Of one identifier: day and name of the newest row, and the last day of deactivation.
type Known = (Option<(i8, String)>, Option<i8>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever was loaded, in whatever portions, a store holds what a map would.
    #[test]
    fn a_store_is_a_map(
        files in proptest::collection::vec(proptest::collection::vec((0u32..40, 1i8..13, any::<bool>()), 0..30), 1..4),
        together in any::<bool>(),
    ) {
        let folder = Folder::new();
        let mut model: HashMap<u32, Known> = HashMap::new();
        let mut paths = Vec::new();
        for (number, rows) in files.iter().enumerate() {
            let mut text = registry::header();
            for (place, (n, month, is_active)) in rows.iter().enumerate() {
                let (npi, name) = (registry::npi(*n).to_string(), format!("NAME {number} {place}"));
                let day = format!("{month:02}/01/2024");
                let known = model.entry(*n).or_default();
                let row = if *is_active {
                    if known.0.as_ref().is_none_or(|(before, _)| before <= month) {
                        known.0 = Some((*month, name.clone()));
                    }
                    registry::file_of(&[&[("NPI", &npi), ("Provider First Name", &name), ("Last Update Date", &day)]])
                } else {
                    known.1 = known.1.max(Some(*month));
                    registry::file_of(&[&[("NPI", &npi), ("NPI Deactivation Date", &day)]])
                };
                text.push_str(&row[registry::header().len()..]);
            }
            paths.push(folder.file(&format!("{number}.csv"), text));
        }
        if together {
            folder.load(&Sources { updates: paths, ..Sources::default() }).unwrap();
        } else {
            paths.into_iter().for_each(|path| { folder.load(&update(path)).unwrap(); });
        }
        let store = folder.open();
        for n in 0..50 {
            let expected = model.get(&n).map(|(active, gone)| match (active, gone) {
                (Some((_, name)), None) => Ok(name.clone()),
                (_, gone) => Err(gone.unwrap()),
            });
            let found = store.get(registry::npi(n)).unwrap().map(|entry| match entry {
                Entry::Active(provider) => Ok(provider.org_name.unwrap()),
                Entry::Deactivated { since } => Err(since.month()),
            });
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn no_file_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), start in 0usize..4) {
        let folder = Folder::new();
        let start: &[u8] = [&b""[..], b"PK\x03\x04", b"NPI,NPPES Deactivation Date\n", b"\"NPI\","][start];
        let path = folder.file("file.csv", [start, &bytes].concat());
        let _loaded = folder.load(&update(path.clone()));
        let _loaded = folder.load(&deactivations(path.clone()));
        prop_assert!(Store::open(path).is_err());
    }
}
