//! The shapes are those that were recorded; every provider is invented.

use jiff::civil::Date;
use proptest::prelude::*;

use super::*;

const NPI: &str = "1234567893";

fn npi() -> Npi {
    Npi::parse(NPI).unwrap()
}

fn found(body: &str) -> Provider {
    match Answer::parse(npi(), body.as_bytes()) {
        Answer::Found(provider) => *provider,
        other => panic!("{other:?}"),
    }
}

/// 2024 and later: identifiers and times as text, empty lists present, null licences, `--` as prefix.
const PERSON_NOW: &str = r#"{"result_count":1,"results":[{
  "created_epoch":"1389230978000","enumeration_type":"NPI-1","last_updated_epoch":"1700000000000","number":"1234567893",
  "addresses":[
    {"country_code":"US","country_name":"United States","address_purpose":"MAILING","address_type":"DOM",
     "address_1":"PO BOX 1","city":"OAKTON","state":"VT","postal_code":"05001","telephone_number":"802-555-0100"},
    {"country_code":"US","country_name":"United States","address_purpose":"LOCATION","address_type":"DOM",
     "address_1":"1 MAIN ST","address_2":"STE 2","city":"ELMVILLE","state":"NH","postal_code":"030011234",
     "telephone_number":"603-555-0100","fax_number":"603-555-0101"}],
  "practiceLocations":[],
  "basic":{"first_name":"ALEX","last_name":"SAMPLE","middle_name":"Q.","credential":"M.D.","sole_proprietor":"NO",
     "sex":"","enumeration_date":"2014-01-08","last_updated":"2023-11-14","status":"A","name_prefix":"--","name_suffix":"--"},
  "taxonomies":[
    {"code":"207Q00000X","taxonomy_group":"","desc":"Family Medicine","state":null,"license":null,"primary":false},
    {"code":"207R00000X","taxonomy_group":"","desc":"Internal Medicine","state":"NH","license":"1","primary":true}],
  "identifiers":[],"endpoints":[],"other_names":[],"a_field_of_next_year":{"deep":[1,2,{"x":null}]}}]}"#;

/// 2018 to 2022: identifiers and times as numbers, `name`, `gender`, empty texts, no empty lists.
const ORGANISATION_THEN: &str = r#"{"result_count":1,"results":[{
  "created_epoch":1150000000,"enumeration_type":"NPI-2","last_updated_epoch":1500000000,"number":1234567893,
  "addresses":[{"address_1":"2 HIGH ST","address_2":"","address_purpose":"LOCATION","address_type":"DOM","city":"ELMVILLE",
    "country_code":"US","country_name":"United States","fax_number":"","postal_code":"03001","state":"NH"}],
  "basic":{"authorized_official_first_name":"KIM","authorized_official_last_name":"SAMPLE",
    "authorized_official_telephone_number":"603-555-0100","enumeration_date":"2006-06-11","last_updated":"2017-07-14",
    "name":"SAMPLE CLINIC","organization_name":"SAMPLE CLINIC LLC","organizational_subpart":"NO","status":"A"},
  "taxonomies":[{"code":"261QP2300X","desc":"Clinic/Center, Primary Care","license":"","primary":false,"state":"",
    "taxonomy_group":"193400000X SINGLE SPECIALTY  GROUP"}]}]}"#;

#[test]
fn a_person_of_today_is_read() {
    let provider = found(PERSON_NOW);
    let text = |text: &str| Some(text.to_owned());
    let expected = Provider {
        npi: npi(),
        enumeration_type: Some(EnumerationType::Individual),
        org_name: text("ALEX Q. SAMPLE"),
        status: text("A"),
        credential: text("M.D."),
        primary_taxonomy_code: text("207R00000X"),
        primary_taxonomy_desc: text("Internal Medicine"),
        address_1: text("1 MAIN ST"),
        address_2: text("STE 2"),
        city: text("ELMVILLE"),
        state: text("NH"),
        postal_code: text("030011234"),
        country_code: text("US"),
        telephone: text("603-555-0100"),
        enumeration_date: Some(Date::constant(2014, 1, 8)),
        last_updated: Some(Date::constant(2023, 11, 14)),
    };
    assert_eq!(provider, expected);
}

#[test]
fn an_organisation_of_the_older_era_is_read() {
    let provider = found(ORGANISATION_THEN);
    assert_eq!(provider.enumeration_type, Some(EnumerationType::Organization));
    assert_eq!(provider.org_name.as_deref(), Some("SAMPLE CLINIC LLC"));
    assert_eq!(provider.address_2, None);
    assert_eq!(provider.telephone, None);
    // None is marked as primary, so the first counts.
    assert_eq!(provider.primary_taxonomy_code.as_deref(), Some("261QP2300X"));
}

#[test]
fn an_older_person_without_parts_has_the_name_in_one() {
    let body = r#"{"result_count":1,"results":[{"number":1234567893,"basic":{"name":"SAMPLE ALEX","gender":"F"}}]}"#;
    let provider = found(body);
    assert_eq!(provider.org_name.as_deref(), Some("SAMPLE ALEX"));
    assert_eq!(provider.city, None);
    assert_eq!(provider.primary_taxonomy_code, None);
}

#[test]
fn a_mailing_address_serves_where_there_is_no_other() {
    let body = r#"{"results":[{"number":"1234567893","basic":null,"taxonomies":null,
        "addresses":[{"address_purpose":"MAILING","city":"OAKTON"}]}]}"#;
    assert_eq!(found(body).city.as_deref(), Some("OAKTON"));
    assert_eq!(found(r#"{"results":[{"number":"1234567893","addresses":[]}]}"#).city, None);
}

#[test]
fn fields_of_an_unexpected_kind_are_empty() {
    let body = r#"{"results":[{"number":"1234567893","basic":{"status":["A"],"first_name":{"x":1},"last_name":7},
        "taxonomies":[{"code":1.5,"primary":"Y"}]}]}"#;
    let provider = found(body);
    assert_eq!(provider.status, None);
    assert_eq!(provider.org_name.as_deref(), Some("7"));
    assert_eq!(provider.primary_taxonomy_code.as_deref(), Some("1.5"));
}

#[test]
fn what_is_not_an_entry_is_told_apart() {
    let failed = Answer::Failed;
    for (body, expected) in [
        (r#"{"result_count":0,"results":[]}"#, Answer::NotFound),
        (
            r#"{"Errors":[{"description":"CMS deactivated NPI 1234567893. ...","field":"number","number":"15"}]}"#,
            Answer::Deactivated,
        ),
        (r#"{"Errors":[{"description":"...","field":"number","number":15}]}"#, Answer::Deactivated),
        (
            r#"{"Errors":[{"description":"No valid search criteria provided","field":"generic","number":"04"}]}"#,
            failed(AnswerError::Refused { number: 4 }),
        ),
        (r#"{"Errors":[{}]}"#, failed(AnswerError::Refused { number: 0 })),
        (r#"{"Errors":[],"results":[]}"#, Answer::NotFound),
        (r#"{"result_count":1,"results":[{"number":"1999999992"}]}"#, failed(AnswerError::OtherProvider)),
        ("{}", failed(AnswerError::UnknownShape)),
        ("[]", failed(AnswerError::UnknownShape)),
        ("null", failed(AnswerError::UnknownShape)),
        (r#"{"results":{}}"#, failed(AnswerError::UnknownShape)),
        (r#"{"results":["1234567893"]}"#, failed(AnswerError::UnknownShape)),
        ("", failed(AnswerError::NotJson)),
        ("<html><body>Down for maintenance</body></html>", failed(AnswerError::NotJson)),
        (r#"{"results":[{"number":"12345"#, failed(AnswerError::NotJson)),
    ] {
        assert_eq!(Answer::parse(npi(), body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn every_cut_of_an_answer_is_a_failure() {
    for end in 0..PERSON_NOW.len() {
        assert_eq!(Answer::parse(npi(), &PERSON_NOW.as_bytes()[..end]), Answer::Failed(AnswerError::NotJson));
    }
}

#[test]
fn an_error_does_not_repeat_the_answer() {
    let body = r#"{"Errors":[{"description":"secret","field":"secret","number":"7"}]}"#;
    let answer = Answer::parse(npi(), body.as_bytes());
    assert_eq!(answer.reason(), Some("upstream_refused"));
    assert!(!format!("{answer:?}").contains("secret"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let answer = Answer::parse(npi(), &bytes);
        prop_assert!(answer.reason().is_some());
    }

    #[test]
    fn damage_to_an_answer_never_gives_another_provider(place in 0usize..1_700, byte in any::<u8>()) {
        let mut body = PERSON_NOW.as_bytes().to_vec();
        let place = place % body.len();
        body[place] = byte;
        if let Answer::Found(provider) = Answer::parse(npi(), &body) {
            prop_assert_eq!(provider.npi, npi());
        }
    }
}
