//! An invented registry in the layout of the real one's files: 330 columns, everything in quotation marks.

use std::fmt::Write as _;

use forebay_nppes::Npi;

/// Columns before the taxonomies.
const FIRST: [&str; 47] = [
    "NPI",
    "Entity Type Code",
    "Replacement NPI",
    "Employer Identification Number (EIN)",
    "Provider Organization Name (Legal Business Name)",
    "Provider Last Name (Legal Name)",
    "Provider First Name",
    "Provider Middle Name",
    "Provider Name Prefix Text",
    "Provider Name Suffix Text",
    "Provider Credential Text",
    "Provider Other Organization Name",
    "Provider Other Organization Name Type Code",
    "Provider Other Last Name",
    "Provider Other First Name",
    "Provider Other Middle Name",
    "Provider Other Name Prefix Text",
    "Provider Other Name Suffix Text",
    "Provider Other Credential Text",
    "Provider Other Last Name Type Code",
    "Provider First Line Business Mailing Address",
    "Provider Second Line Business Mailing Address",
    "Provider Business Mailing Address City Name",
    "Provider Business Mailing Address State Name",
    "Provider Business Mailing Address Postal Code",
    "Provider Business Mailing Address Country Code (If outside U.S.)",
    "Provider Business Mailing Address Telephone Number",
    "Provider Business Mailing Address Fax Number",
    "Provider First Line Business Practice Location Address",
    "Provider Second Line Business Practice Location Address",
    "Provider Business Practice Location Address City Name",
    "Provider Business Practice Location Address State Name",
    "Provider Business Practice Location Address Postal Code",
    "Provider Business Practice Location Address Country Code (If outside U.S.)",
    "Provider Business Practice Location Address Telephone Number",
    "Provider Business Practice Location Address Fax Number",
    "Provider Enumeration Date",
    "Last Update Date",
    "NPI Deactivation Reason Code",
    "NPI Deactivation Date",
    "NPI Reactivation Date",
    "Provider Sex Code",
    "Authorized Official Last Name",
    "Authorized Official First Name",
    "Authorized Official Middle Name",
    "Authorized Official Title or Position",
    "Authorized Official Telephone Number",
];

/// Columns after the other identifiers.
const LAST: [&str; 7] = [
    "Is Sole Proprietor",
    "Is Organization Subpart",
    "Parent Organization LBN",
    "Parent Organization TIN",
    "Authorized Official Name Prefix Text",
    "Authorized Official Name Suffix Text",
    "Authorized Official Credential Text",
];

/// The names of all columns.
pub(crate) fn columns() -> Vec<String> {
    let mut names: Vec<String> = FIRST.iter().map(|name| (*name).to_owned()).collect();
    for n in 1..=15 {
        names.extend([
            format!("Healthcare Provider Taxonomy Code_{n}"),
            format!("Provider License Number_{n}"),
            format!("Provider License Number State Code_{n}"),
            format!("Healthcare Provider Primary Taxonomy Switch_{n}"),
        ]);
    }
    for n in 1..=50 {
        names.extend([
            format!("Other Provider Identifier_{n}"),
            format!("Other Provider Identifier Type Code_{n}"),
            format!("Other Provider Identifier State_{n}"),
            format!("Other Provider Identifier Issuer_{n}"),
        ]);
    }
    names.extend(LAST.iter().map(|name| (*name).to_owned()));
    names.extend((1..=15).map(|n| format!("Healthcare Provider Taxonomy Group_{n}")));
    names.push("Certification Date".to_owned());
    names
}

/// The header row.
pub(crate) fn header() -> String {
    let names = columns();
    format!("\"{}\"\n", names.join("\",\""))
}

/// The provider with the number `n`; numbers are scattered over the identifiers.
pub(crate) fn npi(n: u32) -> Npi {
    // The factor has no divisor in common with the modulus, so that no two numbers meet.
    let payload = 100_000_000 + (u64::from(n) * 98_765_431 % 100_000_000) as u32;
    Npi::from_payload(payload).unwrap()
}

const STATES: [&str; 8] = ["CA", "NY", "TX", "FL", "PA", "OH", "VT", "AK"];
const CITIES: [&str; 8] =
    ["LOS ANGELES", "NEW YORK", "SAN ANTONIO", "JACKSONVILLE", "PITTSBURGH", "CINCINNATI", "BURLINGTON", "ANCHORAGE"];
const TAXONOMIES: [&str; 4] = ["207Q00000X", "207R00000X", "163W00000X", "261QP2300X"];

/// The name of the provider with the number `n`, as a store has it.
pub(crate) fn name(n: u32) -> String {
    if n.is_multiple_of(4) { format!("INVENTED CLINIC NUMBER {n} LLC") } else { format!("GIVEN{} A NAME{n}", n % 5000) }
}

/// Appends the row of the provider with the number `n`.
pub(crate) fn row(n: u32, out: &mut String) {
    let is_organization = n.is_multiple_of(4);
    let pick = (n % 8) as usize;
    let street = format!("{} INVENTED STREET", n % 9999 + 1);
    let postal_code = format!("{:09}", u64::from(n) * 7919 % 1_000_000_000);
    let telephone = format!("555{:07}", n % 10_000_000);
    let day = format!("{:02}/{:02}/{}", n % 12 + 1, n % 28 + 1, 2006 + n % 18);
    let mut fields = [""; 47];
    let number = npi(n).to_string();
    let full_name = name(n);
    let (given, family) = (format!("GIVEN{}", n % 5000), format!("NAME{n}"));
    fields[0] = &number;
    if is_organization {
        (fields[1], fields[4]) = ("2", &full_name);
        (fields[42], fields[43], fields[45]) = ("OFFICIAL", "AN", "MANAGER");
    } else {
        (fields[1], fields[5], fields[6], fields[7], fields[10]) = ("1", &family, &given, "A", "M.D.");
    }
    for address in [20, 28] {
        fields[address] = &street;
        fields[address + 2] = CITIES[pick];
        fields[address + 3] = STATES[pick];
        fields[address + 4] = &postal_code;
        fields[address + 5] = "US";
        fields[address + 6] = &telephone;
    }
    (fields[36], fields[37]) = (&day, "01/15/2024");
    for field in fields {
        write!(out, "\"{field}\",").unwrap();
    }
    write!(out, "\"{}\",\"\",\"{}\",\"Y\",", TAXONOMIES[pick % 4], STATES[pick]).unwrap();
    for _ in 4..60 + 200 {
        out.push_str("\"\",");
    }
    out.push_str("\"NO\",");
    for _ in 1..7 + 15 {
        out.push_str("\"\",");
    }
    out.push_str("\"01/15/2024\"\n");
}

/// A file with the providers whose numbers are given.
pub(crate) fn file(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut text = header();
    numbers.into_iter().for_each(|n| row(n, &mut text));
    text
}

/// A file with one row, in which the named columns have the given values and all others are empty.
pub(crate) fn file_of(rows: &[&[(&str, &str)]]) -> String {
    let names = columns();
    let mut text = header();
    for row in rows {
        let value = |name: &String| row.iter().find(|(column, _)| column == name).map_or("", |(_, value)| *value);
        let values: Vec<&str> = names.iter().map(value).collect();
        assert_eq!(values.iter().filter(|value| !value.is_empty()).count(), row.len(), "a column is unknown");
        writeln!(text, "\"{}\"", values.join("\",\"")).unwrap();
    }
    text
}
