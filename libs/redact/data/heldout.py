#!/usr/bin/env python3
"""Held-out texts for the redactor: other forms and other names than any that its rules were written on. Nobody in them is real.

    heldout.py [SEED] [COUNT] > heldout.jsonl;  forebay redact eval heldout.jsonl
"""
import json, random, sys

GIVEN = """Thaddeus Ottoline Anselm Perpetua Lucian Brunhilde Caspian Delphine Evander Fenella Gideon Hesper Ignatius Junia Kermit Leocadia
Mordecai Nerys Osric Philippa Quentin Rosalind Silvanus Theodora Ulysses Verena Wilhelmina Xanthe Yevgeny Zenobia Amaru Babajide Chidinma Dhruv
Eszter Farouk Gulnara Hyun-woo Ioana Jedrzej Kaimana Lwazi Mahmoud Nguyet Oksana Pradeep Qiang Ruairi Svetlana Tomasz Umberto Vasudha Wanjiru
Xochitl Yitzhak Zsofia James Mary Robert Linda Susan Karen Helen Frank Grace Hope Will Mark Rose Victor Faith Art Dale June April""".split()
FAMILY = """Abercrombie Birkenshaw Cholmondeley Dankworth Entwistle Featherstone Grimsby Hollingsworth Inchbald Jephcott Kettlewell Lamplugh
Micklethwait Northcote Oglethorpe Pumphrey Quarles Ravenscroft Satterthwaite Tunnicliffe Urquhart Vavasour Wigglesworth Yarborough Zouche Adeyinka
Bhattacharya Czarnecki Dimitriou Echeverria Fukunaga Gebremariam Hernandez-Ruiz Ivanovich Jaramillo Kyriakides Llewellyn Mbeki Nwachukwu O'Shaughnessy
Papadopoulos Quispe Rasmussen Szymanski Tsegaye Uzun Villanueva Wojciechowski Xiong Yamashita Zielinski Smith Jones Brown White Young King Green Long
Rivers Stone Field Banks Wells Price Short Best Cook Bond Waters Church Poole""".split()
STREETS = ["Cranberry Hollow Road", "Old Mill Lane", "W. 43rd Street", "Sycamore Terrace", "Calle Ocho", "Highgate Avenue", "Rural Route 4", "Pinecrest Blvd", "Maple Ct"]
TOWNS = [("Ypsilanti", "MI", "48197"), ("Winnemucca", "NV", "89445"), ("Chillicothe", "OH", "45601"), ("Schenectady", "NY", "12304"), ("Opelousas", "LA", "70570"), ("Walla Walla", "WA", "99362"), ("Mobile", "AL", "36602"), ("Reading", "PA", "19601")]
HOSPITALS = ["Saint Barnabas Medical Center", "Mercy General Hospital", "Tri-County Regional Hospital", "Lakeshore Community Clinic"]
MONTHS = "January February March April May June July August September October November December".split()
DRUGS = ["lisinopril 10 mg daily", "metformin 500 mg BID", "atorvastatin 40 mg qhs", "apixaban 5 mg BID", "furosemide 20 mg daily", "Tylenol 650 mg PRN"]
DX = ["CHF exacerbation", "Parkinson's disease", "type 2 diabetes mellitus", "Crohn's disease", "community acquired pneumonia", "Graves' disease", "COPD", "Bell's palsy", "NSTEMI"]

r = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 3000


class Text:
    def __init__(self):
        self.text, self.spans = "", []

    def put(self, *parts):
        for part in parts:
            if isinstance(part, tuple):
                self.spans.append({"start": len(self.text), "end": len(self.text) + len(part[1]), "class": part[0]})
                part = part[1]
            self.text += part
        return self


def date():
    y, m, d = r.randint(1998, 2025), r.randint(1, 12), r.randint(1, 28)
    return ("DATE", r.choice([f"{m}/{d}/{y}", f"{m:02}/{d:02}/{y % 100:02}", f"{y}-{m:02}-{d:02}", f"{MONTHS[m-1]} {d}, {y}", f"{d} {MONTHS[m-1][:3]} {y}", f"{d}-{MONTHS[m-1][:3]}-{y}", f"{MONTHS[m-1][:3]}. {d}, {y}", f"{m}/{d}"]))


def person():
    return r.choice(GIVEN), r.choice(FAMILY)


def N(text): return ("NAME", text)
def full(p): return N(r.choice([f"{p[0]} {p[1]}", f"{p[0]} {r.choice('ABCDEFGHJKLMNPRSTW')}. {p[1]}"]))
def last_first(p): return N(r.choice([f"{p[1]}, {p[0]}", f"{p[1].upper()}, {p[0].upper()}", f"{p[1].upper()}, {p[0].upper()} {r.choice('ABCDEFGHJ')}"]))
def phone(): a, b, c = r.randint(201, 989), r.randint(200, 999), r.randint(0, 9999); return ("PHONE", r.choice([f"({a}) {b}-{c:04}", f"{a}-{b}-{c:04}", f"{a}.{b}.{c:04}", f"+1 {a} {b} {c:04}"]))
def mrn(): return ("MRN", r.choice([str(r.randint(10**6, 10**8)), f"{r.randint(100,999)}-{r.randint(10,99)}-{r.randint(1000,9999)}", f"{r.choice('ABHMT')}{r.randint(10**6,10**7)}"]))
def street(): return ("STREET", f"{r.randint(1, 9999)} {r.choice(STREETS)}")
def old(): return ("AGE", str(r.randint(90, 103)))
def young(): return str(r.randint(18, 89))
def vitals(): return f"BP {r.randint(95,180)}/{r.randint(55,100)}, HR {r.randint(50,120)}, RR {r.randint(12,24)}, SpO2 {r.randint(88,100)}% on RA, T {r.choice(['98.6','99.1','37.2'])}"


def discharge(t):
    p, d, pcp = person(), person(), person()
    he, his, mr = r.choice([("He", "his", "Mr."), ("She", "her", "Mrs.")])
    t.put("DISCHARGE SUMMARY\n\nPatient: ", last_first(p), "    MRN: ", mrn(), "\nAdmitted: ", date(), "   Discharged: ", date(), "\nAttending physician: ", full(d), ", ", r.choice(["MD", "DO", "M.D."]), "\n\n")
    t.put("HOSPITAL COURSE: ", mr, " ", N(p[1]), r.choice([" is a ", ", a "]), *r.choice([[old()], [young()]]), "-year-old ", r.choice(["retired teacher", "man", "woman", "farmer"]), " with ", r.choice(DX), r.choice([" presented", ", was admitted"]), " on ", date(), ". ", he, " was started on ", r.choice(DRUGS), ". ", vitals(), ". ")
    t.put("The case was discussed with Dr. ", N(d[1]), " and ", his, " ", r.choice(["son", "daughter", "wife", "husband", "niece"]), " ", full(person()), ".\n\n")
    t.put("FOLLOW-UP: Dr. ", full(pcp), " in 2 weeks, ", phone(), ".\nElectronically signed: ", full(d), ", MD ", date(), "\n")


def letter(t):
    p, d, to = person(), person(), person()
    town = r.choice(TOWNS)
    t.put(("ORGANIZATION", r.choice(HOSPITALS)), "\n", street(), "\n", ("PLACE", town[0]), ", ", town[1], " ", ("ZIP", town[2]), "\nTel ", phone(), "\n\n", date(), "\n\nDear Dr. ", N(to[1]), ",\n\nRE: ", full(p), ", DOB ", date(), "\n\n")
    t.put("Thank you for referring ", full(p), ", whom I saw on ", date(), ". ", N(p[0]), " reports no chest pain. Current medications: ", r.choice(DRUGS), ", ", r.choice(DRUGS), ". On examination ", vitals(), ". I suspect ", r.choice(DX), ".\n\n")
    t.put("Sincerely,\n\n", full(d), ", ", r.choice(["MD", "DO", "NP", "PA-C"]), "\ncc: ", full(person()), "\n")


def table(t):
    t.put("WARD LIST  ", date(), "\n+------+--------------------------+----------+-----+----------------------+\n| Bed  | Name                     | MRN      | Age | Diagnosis            |\n+------+--------------------------+----------+-----+----------------------+\n")
    for bed in range(r.randint(2, 5)):
        p, m = person(), str(r.randint(10**7, 10**8 - 1))
        t.put(f"| {bed+101}A | ", last_first(p), " " * max(1, 25 - len(t.text.split("| ")[-1])), "| ", ("MRN", m), " | ", *r.choice([[old()], [young()]]), "  | ", f"{r.choice(DX):<20} |\n")


def nursing(t):
    p = person()
    t.put("NURSING NOTE ", date(), " 0715\nPT ", N(p[1].upper()), " RESTING IN BED, FAMILY AT BEDSIDE. ", vitals().upper(), ". ", r.choice(["DR ", "DR. "]), N(person()[1].upper()), " NOTIFIED OF ", r.choice(["LOW URINE OUTPUT", "PAIN 7/10", "FEVER"]), ". DAUGHTER ", N(f"{r.choice(GIVEN)} {p[1]}".upper()), " CALLED FROM ", phone(), ". ", r.choice(["WILL CONTINUE TO MONITOR", "NO NEW ORDERS"]), ".\n", N(f"{r.choice('ABCDEFGHJ')}. {r.choice(FAMILY)}".upper()), ", RN\n")


def call(t):
    p, who = person(), person()
    t.put("Telephone encounter. Caller: ", full(who), " (", r.choice(["mother", "spouse", "brother", "self"]), ") from ", phone(), ". ", r.choice(["Mr. ", "Ms. "]), N(p[1]), ", ", *r.choice([[old()], [young()]]), ", has had cough for 3 days. Lives in ", ("PLACE", r.choice(TOWNS)[0]), ". Advised to take ", r.choice(DRUGS), ". Message left for ", N(f"{r.choice('ABCDEFGHJLMNPRST')}. {r.choice(FAMILY)}"), ", ", r.choice(["NP", "MD", "PA"]), ".")


def contacts(t):
    t.put("Emergency contacts:\n")
    for n in range(r.randint(1, 3)):
        p, town = person(), r.choice(TOWNS)
        t.put(f"{n+1}. ", full(p), " - ", r.choice(["wife", "friend", "neighbor", "son"]), ", ", phone(), ", ", street(), ", ", ("PLACE", town[0]), ", ", town[1], " ", ("ZIP", town[2]), "\n")
    t.put("Email: ", ("EMAIL", f"{r.choice(GIVEN).lower().replace('-','')}.{r.randint(1,99)}@{r.choice(['mail','inbox'])}.example"), "  SSN: ", ("SSN", f"{r.randint(100,665)}-{r.randint(10,99)}-{r.randint(1000,9999)}"), "\n")


def clean(t):
    t.put(r.choice([
        f"ASSESSMENT/PLAN:\n1. {r.choice(DX)}: continue {r.choice(DRUGS)}.\n2. {r.choice(DX)}: stable, recheck labs in 6 weeks.\n{vitals()}",
        f"| Test | Result | Range |\n| WBC | {r.randint(3,15)}.{r.randint(0,9)} | 4.0-11.0 |\n| Hgb | {r.randint(7,17)}.1 | 12-16 |\n| Plt | {r.randint(90,450)} | 150-400 |\n",
        f"EXAM: GENERAL: NO ACUTE DISTRESS. HEENT: NORMOCEPHALIC. LUNGS: CLEAR. HEART: RRR. {vitals()}. SKIN: WARM, DRY. NEURO: ALERT, ORIENTED.",
        f"CT CHEST: No pulmonary embolism. Stable {r.randint(2,9)} mm nodule, right lower lobe. Impression: no acute process. Compare with prior study.",
        f"Patient tolerated the procedure well. Foley removed, Hickman line flushed. Plan: {r.choice(DRUGS)}; return to clinic in {r.randint(2,8)} weeks.",
        "PAST SURGICAL HISTORY: APPENDECTOMY, CHOLECYSTECTOMY. ALLERGIES: PENICILLIN, SULFA. SOCIAL: DENIES TOBACCO, ALCOHOL OR DRUGS.",
    ]))


FORMS = [discharge, letter, table, nursing, call, contacts, clean, clean]
for n in range(COUNT):
    t = Text()
    form = FORMS[n % len(FORMS)]
    form(t)
    print(json.dumps({"text": t.text, "spans": t.spans, "form": form.__name__}))
