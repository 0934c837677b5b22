use std::io::{self, Read};

/// Longest description of a batch, in bytes: some thousands of columns need less.
const HEADER_LIMIT: usize = 64 << 20;

/// Longest body of a batch, and longest column of one once it is decompressed, in bytes.
const BODY_LIMIT: i64 = 1 << 30;

/// Passes an Arrow stream on, a message at a time, whose lengths have been checked: the library's reader allocates
/// whatever a message says, and a few flipped bits can ask for more than there is.
/// Source: Arrow columnar format, "Encapsulated message format".
pub(crate) struct Messages<R> {
    input: R,
    /// Checked, and how much of it was passed on.
    ready: Vec<u8>,
    at: usize,
    /// Bytes of the body that are passed on as they come.
    body: u64,
    ended: bool,
}

impl<R: Read> Messages<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, ready: Vec::new(), at: 0, body: 0, ended: false }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.at = 0;
        let mut word = [0; 4];
        if self.input.read(&mut word[..1])? == 0 {
            self.ended = true;
            return Ok(());
        }
        self.read_word(&mut word[1..])?;
        self.ready.extend_from_slice(&word);
        if word == [0xff; 4] {
            self.read_word(&mut word)?;
            self.ready.extend_from_slice(&word);
        }
        let length = u32::from_le_bytes(word) as usize;
        if length == 0 {
            self.ended = true;
            return Ok(());
        }
        if length > HEADER_LIMIT {
            return Err(broken("a message's header is too long"));
        }
        let start = self.ready.len();
        if (&mut self.input).take(length as u64).read_to_end(&mut self.ready)? < length {
            return Err(cut_off());
        }
        let message =
            arrow_ipc::root_as_message(&self.ready[start..]).map_err(|_| broken("a message can't be read"))?;
        let body = message.bodyLength();
        if !(0..=BODY_LIMIT).contains(&body) {
            return Err(broken("a message's body is too long"));
        }
        let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
        let mut packed = Vec::new();
        if let Some(batch) = message.header_as_record_batch().or(dictionary) {
            let compressed = batch.compression().is_some();
            for buffer in batch.buffers().into_iter().flatten() {
                let (offset, length) = (buffer.offset(), buffer.length());
                if offset < 0 || length < 0 || offset.checked_add(length).is_none_or(|end| end > body) {
                    return Err(broken("a column reaches beyond its message"));
                }
                if compressed && length > 0 {
                    packed.push((offset as usize, length as usize));
                }
            }
        }
        self.body = body as u64;
        if !packed.is_empty() {
            self.check_packed(&packed)?;
        }
        Ok(())
    }

    fn read_word(&mut self, word: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(word).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut_off(),
            _ => error,
        })
    }

    /// Reads a compressed body and checks what its columns say that they become.
    fn check_packed(&mut self, buffers: &[(usize, usize)]) -> io::Result<()> {
        let start = self.ready.len();
        let body = std::mem::take(&mut self.body);
        if ((&mut self.input).take(body).read_to_end(&mut self.ready)? as u64) < body {
            return Err(cut_off());
        }
        for &(offset, length) in buffers {
            let at = start + offset;
            let prefix = self.ready[at..at + length].first_chunk::<8>();
            let plain = prefix.map(|prefix| i64::from_le_bytes(*prefix));
            if !plain.is_some_and(|plain| (-1..=BODY_LIMIT).contains(&plain)) {
                return Err(broken("a compressed column is too long"));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Messages<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() && self.body > 0 {
            let most = buffer.len().min(usize::try_from(self.body).unwrap_or(usize::MAX));
            let n = self.input.read(&mut buffer[..most])?;
            self.body -= n as u64;
            return Ok(n);
        }
        if self.at == self.ready.len() && !self.ended {
            self.fill()?;
        }
        let n = buffer.len().min(self.ready.len() - self.at);
        buffer[..n].copy_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// The library's reader would take an unexpected end, as such, for the end of the stream.
fn cut_off() -> io::Error {
    broken("the input ends inside a message")
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
