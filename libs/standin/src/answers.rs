use std::str::FromStr;

use forebay_nppes::Npi;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const FIRST: [&str; 8] = ["AVERY", "BLAIR", "CASEY", "DANA", "ELLIS", "FINLEY", "GRAY", "HARPER"];
const LAST: [&str; 8] = ["ABBOT", "BARLOW", "CALDER", "DEAN", "ESTES", "FARROW", "GALE", "HOLT"];
const ORGANISATIONS: [&str; 4] = ["VALLEY CLINIC", "HARBOR HEALTH", "NORTHSIDE IMAGING", "PRAIRIE REHAB"];
const PLACES: [(&str, &str, &str); 6] = [
    ("SEATTLE", "WA", "98101"),
    ("DENVER", "CO", "80202"),
    ("AUSTIN", "TX", "78701"),
    ("BOSTON", "MA", "02108"),
    ("CHICAGO", "IL", "60601"),
    ("ATLANTA", "GA", "30303"),
];
const TAXONOMIES: [(&str, &str); 5] = [
    ("207Q00000X", "Family Medicine"),
    ("207R00000X", "Internal Medicine"),
    ("208000000X", "Pediatrics"),
    ("363L00000X", "Nurse Practitioner"),
    ("261QP2300X", "Clinic/Center, Primary Care"),
];

/// The shape of the answers: the registry changed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Era {
    /// 2018 to 2022: numbers as numbers, epochs in seconds, `basic.name`, empty texts.
    Early,
    /// Since 2024: numbers as text, epochs in milliseconds, nulls and `--`.
    #[default]
    Modern,
}

impl FromStr for Era {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "2018" => Ok(Self::Early),
            "2024" => Ok(Self::Modern),
            _ => Err(format!("'{text}' is no era: write 2018 or 2024")),
        }
    }
}

/// The body of the answer to `number=text`.
pub(crate) fn answer(text: Option<&str>, seed: u64, era: Era) -> Value {
    let Some(text) = text else {
        return error("04", "generic", "No valid search criteria provided");
    };
    let Ok(npi) = Npi::parse(text) else {
        return error("04", "number", "NPI must be 10 digits");
    };
    let draw = xxh3_64_with_seed(&npi.number().to_le_bytes(), seed);
    match draw % 100 {
        0 if seed != 0 => deactivated(npi),
        1 | 2 if seed != 0 => json!({"result_count": 0, "results": []}),
        _ => json!({"result_count": 1, "results": [provider(npi, draw, era)]}),
    }
}

fn error(number: &str, field: &str, description: &str) -> Value {
    json!({"Errors": [{"description": description, "field": field, "number": number}]})
}

fn deactivated(npi: Npi) -> Value {
    let text = format!(
        "CMS deactivated NPI {npi}. The provider can no longer use this NPI. Our public registry does not display \
         provider information about NPIs that are not in service."
    );
    error("15", "number", &text)
}

fn pick<T: Copy>(list: &[T], draw: u64) -> T {
    list[(draw % list.len() as u64) as usize]
}

fn provider(npi: Npi, draw: u64, era: Era) -> Value {
    let organisation = draw.is_multiple_of(4);
    let place = pick(&PLACES, draw >> 8);
    let location = address("LOCATION", place, draw, era);
    let mailing = address("MAILING", pick(&PLACES, draw >> 16), draw >> 7, era);
    // The real registry lists the mailing address first more often than not.
    let addresses =
        if (draw >> 24).is_multiple_of(3) { json!([location, mailing]) } else { json!([mailing, location]) };
    let (code, desc) = pick(&TAXONOMIES, draw >> 32);
    let second = pick(&TAXONOMIES, (draw >> 32) + 1);
    let modern = era == Era::Modern;
    let blank = if modern { Value::Null } else { json!("") };
    let taxonomy = |code: &str, desc: &str, primary: bool| {
        let mut taxonomy = json!({"code": code, "desc": desc, "primary": primary, "state": place.1, "license": blank});
        if modern {
            taxonomy["taxonomy_group"] = json!("");
        }
        taxonomy
    };
    let kind = if organisation { "NPI-2" } else { "NPI-1" };
    let mut provider = json!({
        "number": if modern { json!(npi.to_string()) } else { json!(npi.number()) },
        "enumeration_type": kind,
        "created_epoch": if modern { json!("1389230978000") } else { json!(1_389_230_978) },
        "last_updated_epoch": if modern { json!("1589230978000") } else { json!(1_589_230_978) },
        "basic": basic(organisation, draw, modern),
        "addresses": addresses,
        "taxonomies": [taxonomy(second.0, second.1, false), taxonomy(code, desc, true)],
        "identifiers": [],
        "other_names": [],
    });
    if modern {
        provider["practiceLocations"] = json!([]);
        provider["endpoints"] = json!([]);
    }
    provider
}

fn basic(organisation: bool, draw: u64, modern: bool) -> Value {
    let (first, last) = (pick(&FIRST, draw >> 40), pick(&LAST, draw >> 44));
    let mut basic = if organisation {
        let name = format!("{} {}", pick(&ORGANISATIONS, draw >> 40), draw % 1000);
        json!({
            "organization_name": name, "organizational_subpart": "NO", "authorized_official_first_name": first,
            "authorized_official_last_name": last, "authorized_official_telephone_number": "2065550100",
        })
    } else {
        json!({"first_name": first, "last_name": last, "middle_name": "Q", "credential": "M.D.", "sole_proprietor": "NO"})
    };
    let name = if organisation { basic["organization_name"].clone() } else { json!(format!("{last} {first}")) };
    if modern {
        if !organisation {
            basic["sex"] = json!("");
            basic["name_prefix"] = json!("--");
            basic["name_suffix"] = json!("--");
        }
    } else {
        basic["name"] = name;
        if !organisation {
            basic["gender"] = json!("F");
        }
    }
    basic["status"] = json!("A");
    basic["enumeration_date"] = json!("2014-01-09");
    basic["last_updated"] = json!("2020-05-11");
    basic
}

fn address(purpose: &str, place: (&str, &str, &str), draw: u64, era: Era) -> Value {
    let (city, state, zip) = place;
    let postal_code = if draw.is_multiple_of(8) { zip.to_owned() } else { format!("{zip}{:04}", draw % 10_000) };
    let mut address = json!({
        "country_code": "US", "country_name": "United States", "address_purpose": purpose, "address_type": "DOM",
        "address_1": format!("{} EXAMPLE ST", draw % 1000), "city": city, "state": state, "postal_code": postal_code,
        "telephone_number": "206-555-0100",
    });
    if era == Era::Early {
        address["address_2"] = json!("");
    }
    address
}

#[cfg(test)]
mod tests {
    use forebay_nppes::Answer;

    use super::*;

    #[test]
    fn both_eras_parse_to_the_same_provider() {
        for payload in 100_000_000..100_000_200 {
            let npi = Npi::from_payload(payload).unwrap();
            let parsed = |era| Answer::parse(npi, answer(Some(&npi.to_string()), 0, era).to_string().as_bytes());
            let (early, modern) = (parsed(Era::Early), parsed(Era::Modern));
            assert!(matches!(early, Answer::Found(_)), "{early:?}");
            assert_eq!(early, modern);
        }
    }

    #[test]
    fn a_seed_takes_some_providers_away() {
        let npis = (100_000_000..100_002_000).map(|payload| Npi::from_payload(payload).unwrap());
        let answers: Vec<_> = npis
            .map(|npi| Answer::parse(npi, answer(Some(&npi.to_string()), 3, Era::Modern).to_string().as_bytes()))
            .collect();
        let count = |wanted: &Answer| answers.iter().filter(|answer| *answer == wanted).count();
        assert!((20..70).contains(&count(&Answer::NotFound)) && (5..40).contains(&count(&Answer::Deactivated)));
    }

    #[test]
    fn no_number_and_a_wrong_one_are_errors() {
        for text in [None, Some("123")] {
            assert!(answer(text, 0, Era::Modern)["Errors"][0]["number"].is_string());
        }
    }
}
