//! Enrichers that answer from files, the geocoder, and files before an upstream.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{ArrayRef, Date32Array, Int32Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{Field, Schema};
use forebay_enrichment::{CACHE_FILE, CacheLocation};
use forebay_nppes::Npi;
use forebay_standin::RegistryConfig;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Upstream, ask, ask_array, npis, service, settings};

fn files(more: &[(&str, &PathBuf)]) -> BTreeMap<String, String> {
    more.iter().map(|(key, path)| ((*key).to_owned(), path.display().to_string())).collect()
}

fn written(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn parts(parts: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let field = |name: &str, part: &ArrayRef| Arc::new(Field::new(name, part.data_type().clone(), true));
    Arc::new(StructArray::from(parts.into_iter().map(|(name, part)| (field(name, &part), part)).collect::<Vec<_>>()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn floats(batch: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    batch.column_by_name(column).unwrap().as_primitive::<Float64Type>().iter().collect()
}

/// The Census Bureau's batch geocoder, as far as addresses go: rows come back in another order, those that were not
/// found have fewer columns, and some do not come back at all.
async fn geocoder(asked: Arc<Mutex<Vec<Vec<String>>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/geocoder/locations/addressbatch", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                while let Some(body) = request(&mut stream).await {
                    let rows = addresses(&body);
                    let answer: String = rows.iter().rev().filter_map(|row| geocoded(row)).collect();
                    asked.lock().unwrap().push(rows);
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                    stream.write_all([head.as_bytes(), answer.as_bytes()].concat().as_slice()).await.unwrap();
                }
            });
        }
    });
    url
}

/// The body of the next request; none if there is none.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(body.to_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// The rows of the form's file. The form must name the benchmark, and the file must have no header.
fn addresses(body: &str) -> Vec<String> {
    assert!(body.contains("name=\"benchmark\"\r\n\r\nPublic_AR_Current\r\n"), "{body}");
    let (_, file) = body.split_once("name=\"addressFile\"; filename=\"addresses.csv\"").unwrap();
    let (_, rows) = file.split_once("\r\n\r\n").unwrap();
    rows.split("\r\n--").next().unwrap().lines().map(str::to_owned).collect()
}

fn geocoded(row: &str) -> Option<String> {
    let (id, address) = row.split_once(',').unwrap();
    let street = address.split('"').nth(1).unwrap();
    let asked = address.replace("\",\"", ", ").replace('"', "");
    match street {
        "LOST" => None,
        "NOWHERE" => Some(format!("\"{id}\",\"{asked}\",\"No_Match\"\n")),
        "TWICE" => Some(format!("\"{id}\",\"{asked}\",\"Tie\"\n")),
        street => {
            let place = "\"-71.5,42.8\",\"1234\",\"L\"";
            Some(format!("\"{id}\",\"{asked}\",\"Match\",\"Exact\",\"{street}, ELMVILLE, NH, 03001\",{place}\n"))
        }
    }
}

#[tokio::test]
async fn addresses_are_geocoded_in_batches_and_once() {
    let asked = Arc::default();
    let url = geocoder(Arc::clone(&asked)).await;
    let service = service(CacheLocation::Memory).await;
    let settings = settings(&url, &[("batch", "3"), ("tries", "1"), ("on_open", "null")]);
    let streets = ["1 MAIN ST APT 4", "NOWHERE", "TWICE", "LOST", "2 MAIN ST", ""];
    let keys = parts(vec![
        ("zip", texts(&["03001-1234", "03001", "03001", "03001", "03001", "03001"])),
        ("street", texts(&streets)),
        ("city", texts(&["ELMVILLE"; 6])),
    ]);
    let answers = ask_array(&service, "geocode", settings.clone(), Arc::clone(&keys)).await;
    let reasons = answers.column("_reason");
    let reasons: Vec<Option<&str>> = reasons.iter().map(Option::as_deref).collect();
    let wanted = [None, Some("not_found"), Some("ambiguous_address"), Some("upstream_incomplete"), None];
    assert_eq!(reasons, [wanted.as_slice(), &[Some("incomplete_address")]].concat());
    assert_eq!(floats(&answers.0[0], "latitude"), [Some(42.8), None, None, None, Some(42.8), None]);
    assert_eq!(floats(&answers.0[0], "longitude"), [Some(-71.5), None, None, None, Some(-71.5), None]);
    assert_eq!(answers.column("matched_address")[0].as_deref(), Some("1 MAIN ST, ELMVILLE, NH, 03001"));
    assert_eq!((answers.count("precision", Some("address")), answers.calls()), (2, 2));
    let rows: Vec<Vec<String>> = asked.lock().unwrap().clone();
    assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), 5, "{rows:?}");
    assert!(
        rows.iter().all(|rows| rows.len() <= 3) && rows.concat().iter().any(|row| row.starts_with("0,\"1 MAIN ST\","))
    );
    // Also what was not found is known now, and what was not answered is not asked again at once.
    let again = ask_array(&service, "geocode", settings, keys).await;
    assert_eq!((again.calls(), again.source("memory"), again.column("_reason")), (0, 4, answers.column("_reason")));
}

#[tokio::test]
async fn zip_codes_have_the_middle_of_their_area() {
    let folder = tempfile::tempdir().unwrap();
    let gazetteer = "GEOID|ALAND|INTPTLAT|INTPTLONG\n00601|1|18.180555|-66.749961\n03001|1|42.8|-71.5\n";
    let settings = files(&[("file", &written(&folder, "2025_Gaz_zcta_national.txt", gazetteer))]);
    let service = service(CacheLocation::Memory).await;
    let keys = ["03001", "030011234", "99999", "", "x"].map(str::to_owned);
    let answers = ask(&service, "zip", settings, &keys).await;
    assert_eq!(floats(&answers.0[0], "latitude"), [Some(42.8), Some(42.8), None, None, None]);
    assert_eq!(floats(&answers.0[0], "longitude")[0], Some(-71.5));
    assert_eq!((answers.count("precision", Some("zcta")), answers.reason(Some("unknown_zip"))), (2, 3));
    assert_eq!((answers.source("reference"), answers.calls()), (5, 0));
}

/// The layout of the real files, with a service of RVU25D and a place where everything costs what it does on average.
fn fee_schedule(folder: &TempDir) -> BTreeMap<String, String> {
    let rest = "0.00,0.00,0,000,0.00,0.00,0.00,0,0,0,0,0,,32.3465,09,0,99,0.00,0.00,0.00";
    let values = format!(
        ",,2025 National Physician Fee Schedule Relative Value File October Release,,\r\n\
         ,,,,NOT USED,,,,,,,,,,,,,,,,,,,,,PHYSICIAN,,DIAGNOSTIC,PE USED,PE USED,MP USED\r\n\
         ,,,,FOR,,,NON-FAC,,FACILITY ,,,,,,,,,,,,,,,,SUPERVISION OF,,IMAGING,FOR OPPS,FOR OPPS,FOR OPPS\r\n\
         ,,,STATUS,MEDICARE ,WORK,NON-FAC,NA,FACILITY,NA,MP,NON-FACILITY,FACILITY,PCTC,GLOB,PRE,INTRA,POST,MULT,BILAT,\
         ASST,CO-,TEAM,ENDO,CONV,DIAGNOSTIC,CALCULATION,FAMILY,PAYMENT,PAYMENT,PAYMENT\r\n\
         HCPCS,MOD,DESCRIPTION,CODE,PAYMENT,RVU,PE RVU,INDICATOR,PE RVU,INDICATOR,RVU,TOTAL,TOTAL,IND,DAYS,OP,OP,OP,\
         PROC,SURG,SURG,SURG,SURG,BASE,FACTOR,PROCEDURES,FLAG,INDICATOR,AMOUNT,AMOUNT,AMOUNT\r\n\
         G2211,,\"Visit, complex\",A,,0.33,0.13,,0.13,,0.02,{rest}\r\n\
         G0011,,Prep,A,,0.45,0.33,,0.25,,0.04,{rest}\r\n\
         G0183,,Contractor,C,,0.00,0.00,,0.00,,0.00,{rest}\r\n"
    );
    let indices = "ADDENDUM E. FINAL CY 2025 GEOGRAPHIC PRACTICE COST INDICES,,,,,,\r\n\
                   Medicare Administrative Contractor (MAC),State,Locality Number,Locality Name,\
                   2025 PW GPCI (with 1.0 Floor),2025 PE GPCI,2025 MP GPCI\r\n\
                   02102,AK,01,ALASKA*,1.5,1.081,0.592\r\n99999,ZZ,99,NATIONAL AVERAGE,1,1,1\r\n";
    let zip = |state: &str, zip: &str, contractor: &str, locality: &str| {
        format!("{state}{zip}{contractor}{locality} Z9   0 A{:52}20254\r\n", "")
    };
    let zips = [zip("AK", "99501", "02102", "01"), zip("ZZ", "00001", "99999", "99")].concat();
    files(&[
        ("rvu", &written(folder, "PPRRVU2025_Oct.csv", &values)),
        ("gpci", &written(folder, "GPCI2025.csv", indices)),
        ("zip5", &written(folder, "ZIP5_OCT2025.txt", &zips)),
    ])
}

#[tokio::test]
async fn medicare_rates_come_from_the_files_to_the_cent() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(CacheLocation::Memory).await;
    let days: ArrayRef =
        Arc::new(Date32Array::from(vec![Some(20_149), Some(20_149), Some(20_149), Some(20_149), None]));
    let keys = parts(vec![
        ("date", days),
        ("code", texts(&["G2211", "G0011", "G0183", "G9999", "G2211"])),
        ("zip", texts(&["00001", "99501", "00001", "00001", "00001"])),
        ("place_of_service", Arc::new(Int32Array::from(vec![11, 22, 11, 11, 11]))),
    ]);
    let answers = ask_array(&service, "medicare", fee_schedule(&folder), keys).await;
    let rates = answers.0[0].column_by_name("rate").unwrap().as_primitive::<Decimal128Type>();
    // G2211: 15.53, CMS's national amount for 2025. G0011 in a facility in Alaska, by hand:
    // (0.45 x 1.5 + 0.25 x 1.081 + 0.04 x 0.592) x 32.3465 = 31.3415...
    assert_eq!(rates.iter().collect::<Vec<_>>(), [Some(1_553), Some(3_134), None, None, None]);
    let reasons = [None, None, Some("carrier_priced"), Some("unknown_code"), Some("invalid_date")];
    assert_eq!(answers.column("_reason"), reasons.map(|reason| reason.map(str::to_owned)));
    assert_eq!(answers.column("carrier")[..2], [Some("99999".to_owned()), Some("02102".to_owned())]);
    assert_eq!(answers.column("locality")[1].as_deref(), Some("01"));
}

/// Files of the registry with these rows: the identifier, the city, and the day of the last update.
fn dissemination(rows: &[(&str, &str, &str)]) -> String {
    let names = [
        "NPI",
        "Entity Type Code",
        "Provider Organization Name (Legal Business Name)",
        "Provider Last Name (Legal Name)",
        "Provider First Name",
        "Provider First Line Business Mailing Address",
        "Provider Business Mailing Address City Name",
        "Provider Business Mailing Address State Name",
        "Provider Business Mailing Address Postal Code",
        "Provider First Line Business Practice Location Address",
        "Provider Business Practice Location Address City Name",
        "Provider Business Practice Location Address State Name",
        "Provider Business Practice Location Address Postal Code",
        "Last Update Date",
        "NPI Deactivation Date",
        "NPI Reactivation Date",
        "Healthcare Provider Taxonomy Code_1",
        "Healthcare Provider Primary Taxonomy Switch_1",
    ];
    let mut text = format!("\"{}\"\n", names.join("\",\""));
    for (npi, city, day) in rows {
        let row = [
            *npi,
            "2",
            "CLINIC",
            "",
            "",
            "",
            "",
            "",
            "",
            "1 ST",
            *city,
            "NH",
            "03001",
            *day,
            "",
            "",
            "207Q00000X",
            "Y",
        ];
        text.push_str(&format!("\"{}\"\n", row.join("\",\"")));
    }
    text
}

#[tokio::test]
async fn the_registry_is_asked_only_for_what_its_files_lack() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<String> = npis(100_000_000, 6);
    let full = [
        (&*keys[0], "OLDTOWN", "01/02/2025"),
        (&*keys[1], "ELMVILLE", "01/02/2025"),
        (&*keys[2], "GONE", "01/02/2025"),
    ];
    let weekly = [(&*keys[0], "NEWTOWN", "02/03/2025"), (&*keys[3], "ADDED", "02/03/2025")];
    let list = format!("Deactivated NPIs\nNPI,NPPES Deactivation Date\n{},02/04/2025\n", keys[2]);
    let names = [
        ("file", written(&folder, "npidata_pfile_20050523-20250112.csv", &dissemination(&full))),
        ("weekly", written(&folder, "npidata_pfile_20250127-20250202.csv", &dissemination(&weekly))),
        ("deactivated", written(&folder, "NPPES Deactivated NPI Report 20250210.csv", &list)),
    ];
    let upstream = Upstream::start(RegistryConfig::default()).await;
    let mut settings = settings(&upstream.url(), &[]);
    settings.extend(files(&names.each_ref().map(|(key, path)| (*key, path))));
    let asked: Vec<String> = keys.iter().cloned().chain(["1234567890".to_owned()]).collect();
    let cache = CacheLocation::File(folder.path().join(CACHE_FILE));
    let first = crate::support::service_in(cache, folder.path()).await;
    let answers = ask(&first, "nppes", settings.clone(), &asked).await;
    let cities: Vec<Option<String>> = answers.column("city")[..4].to_vec();
    assert_eq!(cities, [Some("NEWTOWN"), Some("ELMVILLE"), None, Some("ADDED")].map(|city| city.map(str::to_owned)));
    assert_eq!((answers.reason(Some("deactivated")), answers.reason(Some("invalid_npi"))), (1, 1));
    assert_eq!((answers.source("reference"), answers.source("upstream"), answers.source("invalid")), (4, 2, 1));
    let mut sent: Vec<String> = upstream.requests().into_iter().map(|(_, npi, _)| npi).collect();
    sent.sort();
    assert_eq!(sent, keys[4..]);
    // Another process finds the files loaded, and the rest in the cache.
    drop(first);
    let second = crate::support::service_in(CacheLocation::File(folder.path().join(CACHE_FILE)), folder.path()).await;
    let again = ask(&second, "nppes", settings, &asked).await;
    assert_eq!((again.source("reference"), again.source("store"), again.calls()), (4, 2, 0));
    assert!(Npi::parse(&sent[0]).is_ok() && folder.path().join("nppes.store").exists());
}

#[tokio::test]
async fn a_reference_table_may_be_csv_or_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let csv =
        written(&folder, "fees.csv", "Code,Zone,Name,Price,Units\nA,1,\"Ann, Inc\",2.5,3\nA,2,Bob,x,\nA,1,Twice,9,9\n");
    let parquet = folder.path().join("fees.parquet");
    let columns: [(&str, ArrayRef); 5] = [
        ("Code", texts(&["A", "A"])),
        ("Zone", Arc::new(Int32Array::from(vec![1, 2]))),
        ("Name", texts(&["Ann, Inc", "Bob"])),
        ("Price", Arc::new(arrow_array::Float64Array::from(vec![Some(2.5), None]))),
        ("Units", Arc::new(Int32Array::from(vec![Some(3), None]))),
    ];
    let fields: Vec<Field> = columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    let batch =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, c)| c).collect()).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&parquet).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let service = service(CacheLocation::Memory).await;
    for path in [csv, parquet] {
        let mut settings = files(&[("file", &path)]);
        let more = [
            ("key", "Code,Zone"),
            ("column.name", "string:Name"),
            ("column.price", "float:Price"),
            ("column.units", "int:Units"),
        ];
        settings.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let keys = parts(vec![("Code", texts(&["A", "A", "B"])), ("Zone", Arc::new(Int32Array::from(vec![1, 2, 1])))]);
        let answers = ask_array(&service, "table", settings.clone(), keys).await;
        assert_eq!(answers.column("name"), [Some("Ann, Inc".to_owned()), Some("Bob".to_owned()), None], "{path:?}");
        assert_eq!(floats(&answers.0[0], "price"), [Some(2.5), None, None]);
        let units = answers.0[0].column_by_name("units").unwrap().as_primitive::<Int64Type>();
        assert_eq!(units.iter().collect::<Vec<_>>(), [Some(3), None, None]);
        assert_eq!((answers.reason(Some("not_found")), answers.source("reference")), (1, 3));
    }
}
