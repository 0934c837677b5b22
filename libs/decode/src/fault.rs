use forebay_types::{MESSAGE_LIMIT, Reason};

/// What is wrong with a record, while it travels up to the record's start.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// Path segments, innermost first.
    path: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Name(String),
    Index(usize),
}

/// Boxed, because faults are rare and results travel through hot loops.
pub(crate) type Checked<T> = Result<T, Box<Fault>>;

impl Fault {
    #[cold]
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { reason, message: message.into(), path: Vec::new() })
    }

    #[cold]
    pub(crate) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.path.push(Segment::Name(name.to_owned()));
        self
    }

    #[cold]
    pub(crate) fn in_element(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.path.push(Segment::Index(index));
        self
    }

    /// The path as people write it: `encounters[2].start`.
    pub(crate) fn path(&self) -> String {
        let mut text = String::new();
        for segment in self.path.iter().rev() {
            match segment {
                Segment::Name(name) if text.is_empty() => text.push_str(name),
                Segment::Name(name) => {
                    text.push('.');
                    text.push_str(name);
                }
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    /// The message, cut to what a reject may hold.
    pub(crate) fn into_message(mut self) -> String {
        if self.message.len() > MESSAGE_LIMIT {
            let mut cut = MESSAGE_LIMIT - 3;
            while !self.message.is_char_boundary(cut) {
                cut -= 1;
            }
            self.message.truncate(cut);
            self.message.push_str("...");
        }
        self.message
    }
}
