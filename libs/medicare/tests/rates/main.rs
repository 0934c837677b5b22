//! Rates out of files in the official layouts, compared with published prices to the cent.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

mod files;

use std::cell::Cell;

use forebay_medicare::{Cents, Fixed, LoadError, MedicareTables, Query, Reason, Setting, Sources};
use jiff::civil::{Date, date};
use proptest::prelude::*;

use files::{Folder, SERVICES, name, relative_values, tables};

/// In the invented place where all indices are 1.
const NATIONAL: &str = "00001";
const OCTOBER: Date = date(2025, 10, 15);

fn query<'a>(code: &'a str, modifier: &'a str, zip: &'a str) -> Query<'a> {
    Query { code, modifier, zip, setting: Setting::NonFacility, date: OCTOBER, qp: false }
}

fn rate(tables: &MedicareTables, query: Query<'_>) -> String {
    tables.rate(&query).map_or_else(|reason| reason.code().to_owned(), |cents| cents.to_string())
}

/// Prices of services with these relative values in CMS's file OPPSCAP_Oct.csv of the release RVU25D (archive
/// rvu25d.zip), whose codes are replaced. The whole file was compared once: all of its 6,670 prices of services with
/// status A that are not marked NA are equal.
#[test]
fn prices_of_localities_that_cms_published_are_met_to_the_cent() {
    let tables = tables();
    for (modifier, zip, published) in [
        ("", "94102", "343.62"),
        ("", "95110", "347.37"),
        ("", "93001", "294.20"),
        ("", "99501", "300.66"),
        ("TC", "99501", "192.19"),
    ] {
        assert_eq!(rate(&tables, query("Z0001", modifier, zip)), published, "{modifier} {zip}");
    }
}

/// "In terms of 2025 [...] reimbursement, E/M complexity add-on code G2211 pays a national average payment of $15.53
/// with a work relative value unit of 0.33": EdgeMED, "Physicians can now report E/M complexity add-on code G2211 with
/// certain Medicare Part B preventive services". By hand: 0.48 x 32.3465 = 15.52632.
#[test]
fn a_published_national_amount_is_met_to_the_cent() {
    assert_eq!(rate(&tables(), query("G2211", "", NATIONAL)), "15.53");
}

#[test]
fn facility_and_office_differ() {
    let tables = tables();
    let at = |place| {
        let setting = Setting::PlaceOfService(place);
        rate(&tables, Query { setting, ..query("G0011", "", "99501") })
    };
    // 0.45 x 1.5 + 0.33 x 1.081 + 0.04 x 0.592 = 1.05541, times 32.3465 = 34.138819...
    assert_eq!(at("11"), "34.14");
    // With 0.25 in the place of 0.33: 0.96893, times 32.3465 = 31.341494...
    assert_eq!(at("21"), "31.34");
    assert_eq!(at("02"), "31.34");
    assert_eq!(at("10"), "34.14");
    assert_eq!(at("2"), "31.34");
    for place in ["", "011", "AB", "-1", "１１"] {
        assert_eq!(at(place), "invalid_place_of_service");
    }
    assert_eq!(rate(&tables, Query { setting: Setting::Facility, ..query("G0011", "", "99501") }), "31.34");
}

#[test]
fn a_modifier_chooses_its_line_and_policy_modifiers_none() {
    let tables = tables();
    let with = |code, modifier| rate(&tables, query(code, modifier, NATIONAL));
    // (1.75 + 0.63 + 0.08) x 32.3465 = 79.57239
    assert_eq!(with("Z0001", "26"), "79.57");
    // The cap of the technical part: (5.48 + 0.03) x 32.3465 = 178.229...
    assert_eq!(with("z0001", "tc"), "178.23");
    assert_eq!(with("G0011", "25"), with("G0011", ""));
    assert_eq!(with("G0011", "26"), "modifier_not_priced");
    assert_eq!(with("Z0009", "53"), "67.93");
    assert_eq!(with("Z0009", ""), "unknown_code");
}

#[test]
fn the_lesser_of_two_amounts_is_the_rate() {
    // Here the outpatient amount is higher: (1.19 + 3.66 + 0.06) x 32.3465 = 158.821...
    assert_eq!(rate(&tables(), query("Z0002", "", NATIONAL)), "158.82");
}

#[test]
fn what_is_not_priced_says_why() {
    let tables = tables();
    for (code, setting, reason) in [
        ("G0183", Setting::NonFacility, Reason::CarrierPriced),
        ("G0008", Setting::NonFacility, Reason::NotPayable),
        ("Z0007", Setting::NonFacility, Reason::NotPayable),
        ("Z0003", Setting::NonFacility, Reason::Anesthesia),
        ("Z0004", Setting::NonFacility, Reason::Bundled),
        ("Z0005", Setting::NonFacility, Reason::NoRelativeValues),
        ("Z0006", Setting::NonFacility, Reason::NaNonFacility),
        ("G0117", Setting::Facility, Reason::NaFacility),
        ("G9999", Setting::NonFacility, Reason::UnknownCode),
        ("", Setting::NonFacility, Reason::UnknownCode),
        ("G00111", Setting::NonFacility, Reason::UnknownCode),
    ] {
        assert_eq!(tables.rate(&Query { setting, ..query(code, "", NATIONAL) }), Err(reason), "{code}");
    }
    // Status R and T are priced: 0.72 x 32.3465 = 23.28948, 1.89 x 32.3465 = 61.134885.
    assert_eq!(rate(&tables, query("G0127", "", NATIONAL)), "23.29");
    assert_eq!(rate(&tables, query("G0117", "", NATIONAL)), "61.13");
    assert_eq!(rate(&tables, query("Z0008", "", NATIONAL)), "0.32");
}

#[test]
fn places_are_found_by_their_zip_codes() {
    let tables = tables();
    let at = |zip| rate(&tables, query("Z0001", "", zip));
    assert_eq!(at("94102-9999"), "343.62");
    assert_eq!(at("951120001"), "347.37");
    assert_eq!(at("95112-0002"), "343.62");
    assert_eq!(at("95112"), "zip_needs_plus_four");
    assert_eq!(at("95112-0003"), "zip_needs_plus_four");
    assert_eq!(at("12345"), "unknown_zip");
    assert_eq!(at("9411"), "invalid_zip");
    assert_eq!(at(""), "invalid_zip");
}

#[test]
fn each_day_has_its_tables() {
    let tables = tables();
    let on = |day, qp, code| rate(&tables, Query { date: day, qp, ..query(code, "", NATIONAL) });
    // The release of January: (0.40 + 0.33 + 0.04) x 32.3465 = 24.906...
    assert_eq!(on(date(2025, 9, 30), false, "G0011"), "24.91");
    assert_eq!(on(date(2025, 10, 1), false, "G0011"), "26.52");
    assert_eq!(on(date(2025, 3, 1), false, "G2211"), "unknown_code");
    // The floor of the work index holds, and from 2026 there are two factors: 0.82 x 33.4009 and x 33.5675.
    assert_eq!(on(date(2026, 1, 1), false, "G0011"), "27.39");
    assert_eq!(on(date(2026, 12, 31), true, "G0011"), "27.53");
    assert_eq!(on(date(2024, 12, 31), false, "G0011"), "no_release_for_date");
    assert_eq!(on(date(2027, 1, 1), false, "G0011"), "no_release_for_date");
    let alaska = Query { date: date(2026, 1, 1), ..query("G0011", "", "99501") };
    assert_eq!(rate(&tables, alaska), "unknown_locality");
    assert_eq!(tables.services_on(OCTOBER), SERVICES.len());
    assert_eq!(tables.services_on(date(2020, 1, 1)), 0);
}

#[test]
fn a_locality_can_be_asked_for_by_itself() {
    let tables = tables();
    let locality = tables.locality("99501", OCTOBER).unwrap();
    assert_eq!((locality.contractor().as_str(), locality.number().as_str()), ("02102", "01"));
    assert_eq!(tables.locality("x", OCTOBER), Err(Reason::InvalidZip));
}

/// As CMS offers them: all of a release in one archive, beside files of other kinds and other editions.
#[test]
fn the_archives_are_read_as_they_come() {
    let folder = Folder::new();
    let release = folder.archive(
        "rvu25d.zip",
        &[
            ("PPRRVU2025_Oct.txt", b"fixed width".as_slice()),
            ("rvu/PPRRVU2025_Oct.csv", &relative_values("2025 Relative Value File October Release", &SERVICES)),
            ("GPCI2025.csv", files::INDICES_2025.as_bytes()),
            ("ANES2025.csv", files::ANESTHESIA_2025.as_bytes()),
            ("RVU25D.pdf", b"%PDF"),
        ],
    );
    let zips = folder.archive(
        "zip-code-carrier-locality-file.zip",
        &[("ZIP5lyout.txt", b"a layout"), ("ZIP5_OCT2025.txt", files::zip5("20254").as_bytes())],
    );
    let sources = Sources {
        relative_values: vec![release.clone()],
        price_indices: vec![release.clone()],
        anesthesia: vec![release],
        zip5: vec![zips.clone()],
        ..Sources::default()
    };
    let tables = MedicareTables::load(&sources).unwrap();
    assert_eq!(rate(&tables, query("G2211", "", NATIONAL)), "15.53");
    assert!(tables.anesthesia_rate("99501", OCTOBER, Fixed::ONE).is_ok());
    let error = MedicareTables::load(&Sources { zip9: vec![zips], ..Sources::default() }).unwrap_err();
    assert!(error.to_string().contains("the archive has no 'ZIP9_...'"), "{error}");
}

#[test]
fn factors_and_facilities_can_be_replaced() {
    let folder = Folder::new();
    let sources = Sources {
        conversion_factors: Some(folder.file("cf.csv", "from,qp,factor\n2025-01-01,,10\n2025-10-16,no,20\n")),
        facilities: Some(folder.file("places.csv", "place\n11\n")),
        ..folder.sources()
    };
    let tables = MedicareTables::load(&sources).unwrap();
    let on = |day, qp| rate(&tables, Query { date: day, qp, ..query("G0011", "", NATIONAL) });
    assert_eq!(on(date(2025, 10, 15), false), "8.20");
    assert_eq!(on(date(2025, 10, 16), false), "16.40");
    assert_eq!(on(date(2025, 10, 16), true), "8.20");
    assert_eq!(on(date(2026, 1, 1), true), "no_factor_for_date");
    let setting = Setting::PlaceOfService("11");
    assert_eq!(rate(&tables, Query { setting, ..query("G0011", "", NATIONAL) }), "7.40");
}

#[test]
fn anesthesia_is_paid_by_units() {
    let tables = tables();
    let units = Fixed::parse("7.5").unwrap();
    assert_eq!(tables.anesthesia_rate("99501", OCTOBER, units), Ok(Cents(20_895)));
    assert_eq!(tables.anesthesia_rate(NATIONAL, OCTOBER, units), Err(Reason::UnknownLocality));
    assert_eq!(tables.anesthesia_rate(NATIONAL, date(2026, 1, 1), units), Err(Reason::NoFactorForDate));
}

#[test]
fn without_files_there_are_no_rates_but_reasons() {
    let tables = MedicareTables::load(&Sources::default()).unwrap();
    assert_eq!(tables.rate(&query("G0011", "", NATIONAL)), Err(Reason::NoReleaseForDate));
    let folder = Folder::new();
    let sources = Sources { zip5: Vec::new(), ..folder.sources() };
    let tables = MedicareTables::load(&sources).unwrap();
    assert_eq!(tables.rate(&query("G0011", "", NATIONAL)), Err(Reason::UnknownZip));
}

#[test]
fn a_file_of_another_kind_is_refused_with_what_is_wrong() {
    let folder = Folder::new();
    let none = Sources::default();
    let good =
        String::from_utf8_lossy(&relative_values("2025 Relative Value File April Release", &SERVICES)).into_owned();
    let number = Cell::new(0);
    let file = |content: &str| {
        number.set(number.get() + 1);
        folder.file(&format!("{}.csv", number.get()), content)
    };
    let rvu = |content: &str| Sources { relative_values: vec![file(content)], ..none.clone() };
    let gpci = |content: &str| Sources { price_indices: vec![file(content)], ..none.clone() };
    let zip = |content: &str| Sources { zip5: vec![file(content)], ..none.clone() };
    let anes = |name, content: &str| Sources { anesthesia: vec![folder.file(name, content)], ..none.clone() };
    let cf = |content: &str| Sources { conversion_factors: Some(file(content)), ..none.clone() };
    for (sources, problem) in [
        (rvu(""), "no row starts with 'HCPCS'"),
        (rvu("HCPCS,MOD\n"), "neither its title nor its name"),
        (rvu(&good.replace("MP,NON", "XX,NON")), "no column 'MP RVU'"),
        (rvu(&good.replace("0.33", "0.3x")), "row 10: a relative value is not a number"),
        (rvu(&good.replace("G0011", "G001")), "row 11: the code does not have five characters"),
        (rvu(&good[..good.find("G2211").unwrap()]), "no services"),
        (gpci(&good), "header"),
        (gpci(&files::INDICES_2025.replace("1.081", "high")), "row 4: a figure"),
        (gpci(&files::INDICES_2025[..files::INDICES_2025.find("02102").unwrap()]), "no localities"),
        (zip(""), "it is empty"),
        (zip(&good), "line 1: columns 76 to 80"),
        (zip(&files::zip5("20255")), "line 1: columns 76 to 80"),
        (zip(&files::zip5("20254").replace("93001", "9300x")), "line 2: ZIP code"),
        (zip(&"x".repeat(10_000)), "line 1 is too long"),
        (anes("factors.csv", files::ANESTHESIA_2025), "does not have the year"),
        (anes("ANES2025.csv", "a\n"), "header"),
        (cf("from,factor\n"), "row 1: a column is missing"),
        (cf("from,qp,factor\n2026-01-01,maybe,1\n"), "row 2: it must have"),
    ] {
        let error = MedicareTables::load(&sources).unwrap_err();
        assert!(error.to_string().contains(problem), "{error} does not say: {problem}");
    }
    let missing = folder.0.path().join("missing.csv");
    let error = MedicareTables::load(&Sources { relative_values: vec![missing.clone()], ..none }).unwrap_err();
    assert!(matches!(error, LoadError::Io { .. }) && error.to_string().contains(&name(&missing)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..3_000) {
        let folder = Folder::new();
        let starts = [
            relative_values("2025 Relative Value File April Release", &SERVICES),
            files::INDICES_2025.into(),
            files::zip5("20254").into_bytes(),
            files::zip9("20254").into_bytes(),
            files::ANESTHESIA_2025.into(),
            b"from,qp,factor\n2026-01-01,,1\n".to_vec(),
        ];
        let [rvu, gpci, zip5, zip9, anes, cf] = starts.map(|mut start| {
            start.truncate(cut);
            start.extend(&bytes);
            vec![folder.file("2025.csv", start)]
        });
        let none = Sources::default();
        for sources in [
            Sources { relative_values: rvu, ..none.clone() },
            Sources { price_indices: gpci, ..none.clone() },
            Sources { zip5, ..none.clone() },
            Sources { zip9, ..none.clone() },
            Sources { anesthesia: anes, ..none.clone() },
            Sources { conversion_factors: cf.into_iter().next(), ..none },
        ] {
            if let Err(error) = MedicareTables::load(&sources) {
                prop_assert!(error.to_string().contains("2025.csv"));
            }
        }
    }

    #[test]
    fn no_question_makes_it_panic(code in ".{0,6}", modifier in ".{0,3}", zip in ".{0,11}", place in ".{0,3}", day in 0i32..60_000) {
        let tables = MedicareTables::load(&Sources::default()).unwrap();
        let date = date(1900, 1, 1).checked_add(jiff::Span::new().days(day)).unwrap();
        let setting = Setting::PlaceOfService(&place);
        let asked = Query { code: &code, modifier: &modifier, zip: &zip, setting, date, qp: true };
        prop_assert!(tables.rate(&asked).is_err());
    }
}
