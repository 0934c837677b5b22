//! A store loaded from files as the registry offers them.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

mod properties;
mod registry;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use forebay_nppes::{
    Entry, EnumerationType, LoadReport, Npi, Provider, Sources, Store, StoreError, load, open_or_load,
};
use jiff::civil::Date;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const MEMORY: u64 = 16 << 20;

/// A folder with files and a store.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn zip(&self, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
        self.file(name, zipped(members))
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("providers.store")
    }

    fn load(&self, sources: &Sources) -> Result<LoadReport, StoreError> {
        load(&self.store(), sources, MEMORY)
    }

    fn open(&self) -> Store {
        Store::open(self.store()).unwrap()
    }

    fn full(&self, path: PathBuf) -> LoadReport {
        self.load(&Sources { full: Some(path), ..Sources::default() }).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.0.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (member, content) in members {
        zip.start_file(*member, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn update(path: PathBuf) -> Sources {
    Sources { updates: vec![path], ..Sources::default() }
}

fn deactivations(path: PathBuf) -> Sources {
    Sources { deactivations: vec![path], ..Sources::default() }
}

fn provider(store: &Store, npi: Npi) -> Provider {
    match store.get(npi).unwrap() {
        Some(Entry::Active(provider)) => *provider,
        other => panic!("{other:?}"),
    }
}

const SAMPLE: &str = "1234567893";

fn sample() -> Npi {
    Npi::parse(SAMPLE).unwrap()
}

fn one(columns: &[(&str, &str)]) -> String {
    let mut row = vec![("NPI", SAMPLE)];
    row.extend_from_slice(columns);
    registry::file_of(&[&row])
}

#[test]
fn every_provider_of_the_file_is_found_and_no_other() {
    let folder = Folder::new();
    let report = folder.full(folder.file("npidata_pfile_20050523-20240407.csv", registry::file(0..5_000)));
    assert_eq!(report, LoadReport { rows: 5_000, unusable: 0, active: 5_000, deactivated: 0 });
    assert!(Store::is_store(&folder.store()).unwrap());
    assert!(!Store::is_store(&folder.0.path().join("npidata_pfile_20050523-20240407.csv")).unwrap());
    assert!(!Store::is_store(&folder.file("short", "fb")).unwrap());
    fs::remove_file(folder.0.path().join("short")).unwrap();
    let store = folder.open();
    assert_eq!(store.info().newest, Some(Date::constant(2024, 1, 15)));
    for n in 0..5_000 {
        let found = provider(&store, registry::npi(n));
        assert_eq!(found.org_name, Some(registry::name(n)));
        assert_eq!(found.npi, registry::npi(n));
    }
    for n in 5_000..6_000 {
        assert_eq!(store.get(registry::npi(n)).unwrap(), None);
    }
    assert_eq!(folder.names(), ["npidata_pfile_20050523-20240407.csv", "providers.store", "providers.store.lock"]);
}

#[test]
fn many_are_answered_in_the_order_asked() {
    let folder = Folder::new();
    folder.full(folder.file("npidata_pfile.csv", registry::file(0..2_000)));
    let store = folder.open();
    let asked: Vec<Npi> = (0..4_000).rev().chain(5..10).map(registry::npi).collect();
    let answers = store.get_many(&asked).unwrap();
    for (npi, answer) in asked.iter().zip(answers) {
        assert_eq!(answer, store.get(*npi).unwrap());
    }
}

#[test]
fn a_row_is_read_by_the_names_of_its_columns() {
    let folder = Folder::new();
    let text = one(&[
        ("Entity Type Code", "1"),
        ("Provider Last Name (Legal Name)", "SAMPLE"),
        ("Provider First Name", "ALEX"),
        ("Provider Middle Name", "--"),
        ("Provider Credential Text", "D.O."),
        ("Provider First Line Business Mailing Address", "PO BOX 1"),
        ("Provider Business Mailing Address City Name", "OAKTON"),
        ("Provider First Line Business Practice Location Address", "1 MAIN ST"),
        ("Provider Business Practice Location Address City Name", "ELMVILLE"),
        ("Provider Business Practice Location Address State Name", "NH"),
        ("Provider Business Practice Location Address Postal Code", "030011234"),
        ("Provider Business Practice Location Address Country Code (If outside U.S.)", "US"),
        ("Provider Enumeration Date", "05/23/2006"),
        ("Last Update Date", "07/08/2023"),
        ("Healthcare Provider Taxonomy Code_1", "207Q00000X"),
        ("Healthcare Provider Primary Taxonomy Switch_1", "N"),
        ("Healthcare Provider Taxonomy Code_2", "207R00000X"),
        ("Healthcare Provider Primary Taxonomy Switch_2", "Y"),
    ]);
    folder.full(folder.file("npidata_pfile.csv", text));
    let found = provider(&folder.open(), sample());
    assert_eq!(found.enumeration_type, Some(EnumerationType::Individual));
    assert_eq!(found.org_name.as_deref(), Some("ALEX SAMPLE"));
    assert_eq!(found.status.as_deref(), Some("A"));
    assert_eq!(found.credential.as_deref(), Some("D.O."));
    assert_eq!(found.address_1.as_deref(), Some("1 MAIN ST"));
    assert_eq!(found.address_2, None);
    assert_eq!(found.city.as_deref(), Some("ELMVILLE"));
    assert_eq!(found.state.as_deref(), Some("NH"));
    assert_eq!(found.postal_code.as_deref(), Some("030011234"));
    assert_eq!(found.country_code.as_deref(), Some("US"));
    assert_eq!(found.primary_taxonomy_code.as_deref(), Some("207R00000X"));
    assert_eq!(found.enumeration_date, Some(Date::constant(2006, 5, 23)));
    assert_eq!(found.last_updated, Some(Date::constant(2023, 7, 8)));
}

#[test]
fn what_is_missing_falls_back_as_in_the_api() {
    let folder = Folder::new();
    let text = one(&[
        ("Entity Type Code", "2"),
        ("Provider Organization Name (Legal Business Name)", "SAMPLE, \"\"THE\"\" CLINIC"),
        ("Provider Business Mailing Address City Name", "OAKTON"),
        ("Healthcare Provider Taxonomy Code_1", "261QP2300X"),
        ("Healthcare Provider Primary Taxonomy Switch_1", "X"),
    ]);
    let latin: Vec<u8> = text.replace("OAKTON", "PE@A").bytes().map(|b| if b == b'@' { 0xd1 } else { b }).collect();
    folder.full(folder.file("npidata_pfile.csv", latin));
    let found = provider(&folder.open(), sample());
    assert_eq!(found.org_name.as_deref(), Some("SAMPLE, \"THE\" CLINIC"));
    assert_eq!(found.city.as_deref(), Some("PEÑA"));
    assert_eq!(found.primary_taxonomy_code.as_deref(), Some("261QP2300X"));
}

#[test]
fn deactivated_rows_are_known_as_such_unless_reactivated() {
    let folder = Folder::new();
    let gone = registry::npi(1).to_string();
    let text = registry::file_of(&[
        &[("NPI", &gone), ("NPI Deactivation Date", "05/22/2023")],
        &[
            ("NPI", SAMPLE),
            ("NPI Deactivation Date", "05/22/2023"),
            ("NPI Reactivation Date", "06/01/2023"),
            ("Entity Type Code", "1"),
        ],
    ]);
    let report = folder.full(folder.file("npidata_pfile.csv", text));
    assert_eq!((report.active, report.deactivated), (1, 1));
    let since = Date::constant(2023, 5, 22);
    assert_eq!(folder.open().get(registry::npi(1)).unwrap(), Some(Entry::Deactivated { since }));
    assert_eq!(provider(&folder.open(), sample()).npi, sample());
}

#[test]
fn weekly_files_and_lists_are_put_on_top() {
    let folder = Folder::new();
    folder.full(folder.file("npidata_pfile.csv", registry::file(0..3_000)));
    let renamed = registry::npi(7).to_string();
    let week = registry::file_of(&[
        &[("NPI", SAMPLE), ("Provider Last Name (Legal Name)", "NEW")],
        &[("NPI", &renamed), ("Provider Last Name (Legal Name)", "CHANGED"), ("Last Update Date", "04/01/2024")],
    ]);
    let week = folder.zip(
        "NPPES_Data_Dissemination_040124_040724_Weekly.zip",
        &[
            ("npidata_pfile_20240401-20240407_fileheader.csv", registry::header().as_bytes()),
            ("npidata_pfile_20240401-20240407.csv", week.as_bytes()),
            ("othername_pfile_20240401-20240407.csv", b"\"NPI\"\n"),
        ],
    );
    let report = folder.load(&update(week)).unwrap();
    assert_eq!((report.rows, report.active), (2, 3_001));
    let store = folder.open();
    assert_eq!(provider(&store, sample()).org_name.as_deref(), Some("NEW"));
    assert_eq!(provider(&store, registry::npi(7)).org_name.as_deref(), Some("CHANGED"));
    assert_eq!(provider(&store, registry::npi(8)).org_name, Some(registry::name(8)));

    let list = format!("NPPES Deactivated Records,\r\nNPI,NPPES Deactivation Date\r\n{renamed},04/05/2024\r\n");
    let report = folder.load(&deactivations(folder.file("list.csv", list))).unwrap();
    assert_eq!((report.rows, report.active, report.deactivated), (1, 3_000, 1));
    // The store that is open stays what it was, and knows that it is not the newest.
    assert_eq!(provider(&store, registry::npi(7)).org_name.as_deref(), Some("CHANGED"));
    assert!(!store.is_current().unwrap());
    let since = Date::constant(2024, 4, 5);
    assert_eq!(folder.open().get(registry::npi(7)).unwrap(), Some(Entry::Deactivated { since }));

    // The whole file replaces all that was there.
    let report = folder.full(folder.file("npidata_pfile.csv", registry::file(0..10)));
    assert_eq!((report.active, report.deactivated), (10, 0));
}

/// The deactivation list as a sheet in an archive, which is how the registry offers it.
#[test]
fn a_sheet_in_an_archive_is_read() {
    let shared =
        b"<?xml version=\"1.0\"?><sst xmlns=\"x\"><si><t>NPPES Deactivated NPI Report</t></si><si><t>NPI</t></si>\
        <si><r><t>NPPES Deactivation </t></r><r><t>Date</t></r></si><si><t>1234567893</t></si></sst>";
    let other = registry::npi(3).to_string();
    let sheet = format!(
        "<?xml version=\"1.0\"?><x:worksheet xmlns:x=\"y\"><x:sheetData>\
         <x:row r=\"1\"><x:c r=\"A1\" t=\"s\"><x:v>0</x:v></x:c></x:row>\
         <x:row r=\"2\"><x:c r=\"A2\" t=\"s\"><x:v>1</x:v></x:c><x:c r=\"C2\" t=\"s\"><x:v>2</x:v></x:c></x:row>\
         <x:row r=\"3\"><x:c r=\"A3\" t=\"s\"><x:v>3</x:v></x:c><x:c r=\"B3\"/><x:c r=\"C3\"><x:v>45068</x:v></x:c></x:row>\
         <x:row r=\"4\"><x:c t=\"inlineStr\"><x:is><x:t>{other}</x:t></x:is></x:c><x:c r=\"C4\" t=\"str\"><x:v>05/22/2023</x:v></x:c></x:row>\
         </x:sheetData></x:worksheet>"
    );
    let workbook: &[(&str, &[u8])] = &[
        ("xl/workbook.xml", b"<w/>"),
        ("xl/sharedStrings.xml", shared),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ];
    for packed in [false, true] {
        let folder = Folder::new();
        let inner = zipped(workbook);
        let path = if packed {
            folder.zip(
                "NPPES_Deactivated_NPI_Report_040824.zip",
                &[("NPPES Deactivated NPI Report 20240408.xlsx", &inner)],
            )
        } else {
            folder.file("report.xlsx", inner)
        };
        let report = folder.load(&deactivations(path)).unwrap();
        assert_eq!((report.rows, report.unusable, report.deactivated), (2, 0, 2));
        let since = Date::constant(2023, 5, 22);
        for npi in [sample(), registry::npi(3)] {
            assert_eq!(folder.open().get(npi).unwrap(), Some(Entry::Deactivated { since }));
        }
    }
}

#[test]
fn what_does_not_fit_in_memory_is_sorted_on_disk() {
    let folder = Folder::new();
    // Some 120 bytes a provider: several runs with the least memory.
    let path = folder.file("npidata_pfile.csv", registry::file(0..90_000));
    let sources = Sources { full: Some(path), ..Sources::default() };
    let report = load(&folder.store(), &sources, 8 << 20).unwrap();
    assert_eq!(report.active, 90_000);
    let store = folder.open();
    for n in (0..90_000).step_by(97) {
        assert_eq!(provider(&store, registry::npi(n)).org_name, Some(registry::name(n)));
    }
    let small = load(&folder.store(), &sources, 1 << 20);
    assert!(matches!(small, Err(StoreError::Memory { .. })));
}

#[test]
fn a_file_that_is_not_what_it_should_be_changes_nothing() {
    let folder = Folder::new();
    folder.full(folder.file("npidata_pfile.csv", registry::file(0..100)));
    let whole = registry::file(0..100);
    let cut = &whole[..whole.len() - 40];
    let archive = zipped(&[("npidata_pfile.csv", whole.as_bytes())]);
    let header = registry::header();
    let garbage = format!("{header}{}", "\"x\"\n".repeat(50));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty.csv", Vec::new(), "is empty"),
        ("header.csv", header.clone().into_bytes(), "no providers"),
        ("cut.csv", cut.into(), "last row is cut off"),
        ("other.csv", b"a,b\n1,2\n".to_vec(), "no column"),
        ("garbage.csv", [garbage.as_bytes(), &whole.as_bytes()[header.len()..]].concat(), "50 of 150 rows"),
        ("quote.csv", format!("{header}\"{}", "x".repeat(2 << 20)).into_bytes(), "quotation mark"),
        ("cut.zip", archive[..archive.len() / 2].to_vec(), "no whole zip archive"),
        ("other.zip", zipped(&[("readme.txt", b"")]), "no member"),
        ("two.zip", zipped(&[("npidata_pfile_1.csv", b""), ("npidata_pfile_2.csv", b"")]), "more than one"),
    ];
    for (name, content, problem) in cases {
        let path = folder.file(name, content);
        let updates = vec![folder.file("npidata_pfile.csv", &whole)];
        let error = folder.load(&Sources { full: Some(path), updates, ..Sources::default() }).unwrap_err().to_string();
        assert!(error.contains(problem), "{name}: {error}");
        assert!(error.contains(name), "{name}: {error}");
        assert_eq!(folder.open().info().active, 100, "{name}");
    }
    for (name, content, problem) in [
        ("list.csv", b"NPI,Date\n".to_vec(), "Deactivation Date"),
        ("sheet.xlsx", zipped(&[("xl/workbook.xml", b"")]), "sheet1.xml"),
        (
            "bad.xlsx",
            zipped(&[("xl/workbook.xml", b""), ("xl/worksheets/sheet1.xml", b"<a><c t=\"s\"><v>9</v></c></a>")]),
            "refers to a text",
        ),
        ("broken.xlsx", zipped(&[("xl/workbook.xml", b""), ("xl/worksheets/sheet1.xml", b"<a></b>")]), "malformed"),
    ] {
        let error = folder.load(&deactivations(folder.file(name, content))).unwrap_err().to_string();
        assert!(error.contains(problem), "{name}: {error}");
    }
    assert!(!folder.names().contains(&"providers.store.loading".to_owned()));
}

#[test]
fn a_load_that_was_killed_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.full(folder.file("npidata_pfile.csv", registry::file(0..10)));
    let left = folder.0.path().join("providers.store.loading");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("store"), "half").unwrap();
    folder.load(&update(folder.file("week.csv", registry::file(10..20)))).unwrap();
    assert_eq!(folder.open().info().active, 20);
    assert!(!left.exists());
}

#[test]
fn files_are_loaded_once() {
    let folder = Folder::new();
    let full = folder.file("npidata_pfile.csv", registry::file(0..10));
    let mut sources = Sources { full: Some(full), ..Sources::default() };
    let open = |sources: &Sources| open_or_load(&folder.store(), sources, MEMORY);
    assert_eq!(open(&sources).unwrap().1.map(|report| report.active), Some(10));
    assert_eq!(open(&sources).unwrap().1, None);
    // A file more, and a file replaced.
    sources.updates.push(folder.file("week.csv", registry::file(5..15)));
    assert_eq!(open(&sources).unwrap().1.map(|report| report.active), Some(15));
    assert_eq!(open(&sources).unwrap().1, None);
    folder.file("week.csv", registry::file(5..20));
    assert_eq!(open(&sources).unwrap().1.map(|report| report.active), Some(20));
    // A damaged store is replaced out of the whole file, and kept where there is none.
    fs::write(folder.store(), "damaged").unwrap();
    let week = update(folder.file("week.csv", registry::file(5..20)));
    assert!(matches!(open(&week), Err(StoreError::NotAStore(_))));
    assert_eq!(open(&sources).unwrap().0.info().active, 20);
    assert!(matches!(open(&update("missing.csv".into())), Err(StoreError::Io { .. })));
}

#[test]
fn processes_that_need_the_same_files_load_them_once() {
    let folder = Folder::new();
    let sources = Sources { full: Some(folder.file("all.csv", registry::file(0..2_000))), ..Sources::default() };
    let loads = std::thread::scope(|scope| {
        let open = || open_or_load(&folder.store(), &sources, MEMORY).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|(_, report)| report.is_some()).count()
    });
    assert_eq!(loads, 1);
}

#[test]
fn two_loads_do_not_meet() {
    let folder = Folder::new();
    let lock = File::create(folder.0.path().join("providers.store.lock")).unwrap();
    lock.try_lock().unwrap();
    let error = folder.load(&update(folder.file("week.csv", registry::file(0..10)))).unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)));
    drop(lock);
    folder.load(&update(folder.file("week.csv", registry::file(0..10)))).unwrap();
}

#[test]
fn every_damaged_byte_is_noticed() {
    let folder = Folder::new();
    folder.full(folder.file("npidata_pfile.csv", registry::file(0..60)));
    let whole = fs::read(folder.store()).unwrap();
    let asked: Vec<Npi> = (0..60).map(registry::npi).collect();
    let expected = folder.open().get_many(&asked).unwrap();
    let damaged = |path: &Path| Store::open(path).and_then(|store| store.get_many(&asked));
    for place in (0..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        match damaged(&folder.file("damaged", bytes)) {
            Err(StoreError::Damaged { .. } | StoreError::NotAStore(_)) => {}
            // The first bytes are not read again: the last tell what it is.
            Ok(answers) => assert!(place < 8 && answers == expected, "{place}"),
            Err(other) => panic!("{other}"),
        }
    }
    for end in (0..whole.len()).step_by(101) {
        assert!(matches!(damaged(&folder.file("cut", &whole[..end])), Err(StoreError::NotAStore(_))));
    }
    assert!(matches!(Store::open(folder.0.path().join("none")), Err(StoreError::Io { .. })));
}

#[test]
fn a_store_without_entries_answers() {
    let folder = Folder::new();
    folder.load(&Sources::default()).unwrap();
    assert_eq!(folder.open().get(sample()).unwrap(), None);
    assert_eq!(folder.open().info().newest, None);
}
